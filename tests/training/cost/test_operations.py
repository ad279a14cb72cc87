"""The operations of a step, compared with those that torch counts, and their share of a GPU's peak."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.grids import grid
from support.processes import perturbed
from support.tiny import model_folder, random_sets, write_data
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM, MixtralConfig

from pairkit.losses import build
from pairkit.losses.building import sampler_settings
from pairkit.models.load import load_model
from pairkit.recipes import validate
from pairkit.training.cost.operations import (
    TokenLoad,
    cost_per_token,
    token_load,
    with_gradient,
    without_gradient,
)
from pairkit.training.cost.speed import Speed, peak, rates_note
from pairkit.training.distributed.processes import ALONE
from pairkit.training.logprobs.forward import score
from pairkit.training.logprobs.packing import pack
from pairkit.training.logprobs.probe import continues, packs, pad
from pairkit.training.logprobs.reference_cache import reference_sums
from pairkit.training.logprobs.selection import SetSelection
from pairkit.training.lora import Lora, four_bits, with_adapters
from pairkit.training.plan import plan
from pairkit.training.recipe import TrainRecipe
from pairkit.training.step.averages import Averages
from pairkit.training.step.batch import Batch, GradientResult, StepModel
from pairkit.training.step.examples import split_for
from pairkit.training.step.order import draw_seeds
from pairkit.training.step.prepare import prepare
from pairkit.training.tokens.token_set import TokenSet

SETS = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder(tmp_path_factory.mktemp("model") / "llama")


@pytest.fixture(scope="module")
def sets(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[TokenSet]:
    data = write_data(tmp_path_factory.mktemp("data") / "sets", random_sets(SETS))
    base = {"data": str(data), "model": str(folder), "max_length": 96}
    return plan(validate(TrainRecipe, base)).train.sets


@contextmanager
def counting() -> Iterator[dict[str, int]]:
    """Count with torch, products with weights separately; it does not count the CPU's own attention."""
    operations: dict[str, int] = {}
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        yield operations
    counts = {str(op): number for op, number in counter.get_flop_counts()["Global"].items()}
    operations["weights"] = counts.get("aten.mm", 0) + counts.get("aten.addmm", 0)
    operations["attention"] = counts.get("aten.bmm", 0) + counts.get("aten.baddbmm", 0)
    assert sum(counts.values()) == operations["weights"] + operations["attention"]


def step(
    loss: str, sampling: str, sets: list[TokenSet], model: torch.nn.Module, tmp_path: Path
) -> tuple[StepModel, dict[str, int], Batch, GradientResult]:
    """Prepare and pass one global batch, and count with torch."""
    built, live = build(loss), perturbed(model)

    def compute(wanted: list[TokenSet]) -> Any:
        return reference_sums(wanted, tmp_path / "sums.parquet", lambda: live, tokens_per_micro_batch=10**6)

    split = split_for(built.needs, sets, compute, seed=0, max_length=96)
    step_model = StepModel(built, model, live if "token_kl" in built.needs else None, 600, ALONE)
    if packs(model, live):  # tries, which takes passes of its own
        continues(model)
    settings = sampler_settings(built, {}, sampling)
    calls = [one.register_forward_hook(lambda *_: logits.append(2 * 16 * 300)) for one in (model, live)]
    logits: list[int] = []
    with counting() as counted:
        batch = prepare(step_model, settings, split, range(len(sets)), draw_seeds(sets, 0, 0))
        passed = step_model.gradients(batch, Averages())
    for call in calls:
        call.remove()
    counted["weights"] -= sum(logits)  # of the one position that a model's own head gets
    return step_model, counted, batch, passed


def of_weights(speed: Speed, batch: Batch, work: list[SetSelection]) -> float:
    """Count the operations of a step without attention."""
    for cost in (speed._cost, speed._live):
        if cost is not None:
            cost.attention.clear()
    return speed.operations(batch, work)


PASSES = [
    ("dpo", "random"),
    ("sft", "random"),
    ("dpo", "mc"),  # a draw within the pass, or a scoring pass before it
    ("mcpo", "max"),
    ("bco", "random"),  # a scoring pass of the drawn completions
    ("dpo+bco", "mc"),
    ("kto", "random"),  # and one of prompts with completions of others
    ("tdpo2", "random"),  # the reference runs next to the policy
]


@pytest.mark.default("passes3-False", "passes8-True", "passes4-True")
@pytest.mark.parametrize(
    ("passes", "shared"),
    # Each loss and sampling once, packed and padded by turns.
    grid(lambda passes, shared: shared == (PASSES.index(passes) % 2 == 0), PASSES, [True, False]),
)
def test_products_with_weights_are_those_that_torch_counts(
    folder: Path, sets: list[TokenSet], tmp_path: Path, passes: tuple[str, str], shared: bool
) -> None:
    loss, sampling = passes
    model = AutoModelForCausalLM.from_pretrained(folder)
    if not shared:
        pad(model)
        even = [len(item.prompt) + len(c.ids) for item in sets for c in item.columns]
        assert len(set(even)) > 1  # rows are padded, and torch counts that too
    step_model, counted, batch, passed = step(loss, sampling, sets, model, tmp_path)
    ours = of_weights(Speed(step_model, 1.0), batch, passed.work)
    if shared:
        assert ours == counted["weights"]
    else:
        assert ours < counted["weights"]


@pytest.mark.default("dpo+sft-random")
@pytest.mark.parametrize(
    ("loss", "sampling"), [("dpo+sft", "random"), ("dpo+sft", "mc"), ("tdpo2+sft", "random")]
)
def test_products_with_weights_of_earlier_turns_are_those_that_torch_counts(
    folder: Path, sets: list[TokenSet], tmp_path: Path, loss: str, sampling: str
) -> None:
    """With a draw within the pass, and with a reference next to the policy."""
    dialogues = [
        item._replace(turns=np.arange(len(item.prompt)) % 3 == 1) if number % 2 else item
        for number, item in enumerate(sets)
    ]
    counts = []
    for items in (sets, dialogues):
        model = AutoModelForCausalLM.from_pretrained(folder)
        step_model, counted, batch, passed = step(loss, sampling, items, model, tmp_path)
        assert of_weights(Speed(step_model, 1.0), batch, passed.work) == counted["weights"]
        counts.append(counted["weights"])
    assert counts[0] < counts[1]


def test_attention_counts_what_the_mask_lets_through(folder: Path, sets: list[TokenSet]) -> None:
    """Torch counts whole rectangles of queries and keys."""
    config = AutoConfig.from_pretrained(folder)
    work = [SetSelection.all(item) for item in sets]
    _, packed = pack([(one.tokens.prompt, one.completions) for one in work], torch.device("cpu"))
    passed = token_load(work)
    for window in (None, 1, 5, 20, 10**6):
        assert passed.seen(window) == packed.tokens.sees(packed.tokens, window).sum()
    model = AutoModelForCausalLM.from_pretrained(folder)
    packs(model)
    with counting() as counted:
        score(model, work).policy.sum.sum().backward()
    segments = packed.segments
    rectangles = sum(
        one.size * (one.size + (0 if one.prompt is None else segments[one.prompt].size)) for one in segments
    )
    width = 2 * config.hidden_size * config.num_hidden_layers  # keys and values of all heads
    assert counted["attention"] == 3 * 2 * width * rectangles
    assert rectangles >= passed.seen(None)
    assert cost_per_token(model).attention == {None: width}


def test_a_padded_pass_counts_as_separate_texts(folder: Path, sets: list[TokenSet]) -> None:
    work = [SetSelection(item, (0, 1)) for item in sets]
    alone = [
        SetSelection(TokenSet("", item.prompt, (column,)), (0,))
        for item in sets
        for column in item.columns[:2]
    ]
    one, other = token_load(work, shared=False), token_load(alone)
    assert (one.tokens, one.predicted, sorted(one.spans)) == (
        other.tokens,
        other.predicted,
        sorted(other.spans),
    )
    after = token_load(work, prompts=False)
    prompts = sum(len(item.prompt) for item in sets)
    assert token_load(work).tokens == after.tokens + prompts
    alone = TokenLoad(prompts, 0, [(0, len(item.prompt)) for item in sets])
    assert token_load(work).seen(7) == (after + alone).seen(7)


def test_frozen_weights_have_no_gradient_of_their_own(folder: Path, sets: list[TokenSet]) -> None:
    """Torch makes none for the input of the first layer either, which is counted here as in every layer."""
    adapted = with_adapters(AutoModelForCausalLM.from_pretrained(folder), Lora(r=4), seed=0)
    cost = cost_per_token(adapted)
    assert cost.trained == sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    work = [SetSelection(item, (0, 1)) for item in sets]
    packs(adapted)
    with counting() as counted:
        score(adapted, work).policy.sum.sum().backward()
    cost.attention.clear()
    passed = token_load(work)
    first = 3 * (16 * 16 + 4 * 16)  # queries, keys and values, and their adapters
    assert with_gradient(cost, passed) == counted["weights"] + 2 * first * passed.tokens
    assert with_gradient(cost, passed) < 3 * without_gradient(cost, passed)


def test_weights_in_four_bits_count_like_others(folder: Path) -> None:
    pytest.importorskip("bitsandbytes")
    settings: dict[str, Any] = {"revision": None, "dtype": "float32", "attention": None, "seed": 0}
    settings |= {"trust_remote_code": False, "vocabulary": None, "device": torch.device("cpu")}
    costs = [
        cost_per_token(
            with_adapters(load_model(str(folder), quantization=how, **settings), Lora(r=4), seed=0)
        )
        for how in (None, four_bits(torch.float32))
    ]
    assert costs[0] == costs[1]


def test_only_the_experts_of_a_token_count() -> None:
    config = MixtralConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, vocab_size=64, num_local_experts=8, num_experts_per_tok=2,
    )  # fmt: skip
    with torch.device("meta"):
        cost = cost_per_token(AutoModelForCausalLM.from_config(config))
    attention, router, expert = 16 * 16 * 2 + 2 * 16 * 8, 16 * 8, 3 * 16 * 32
    assert cost.trained == 2 * (attention + router + 2 * expert)
    assert cost.head == 16 * 64


def test_mfu_is_reported_for_known_devices(folder: Path, sets: list[TokenSet]) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder)
    step_model = StepModel(build("dpo"), model, None, 600, ALONE)
    rates = Speed(step_model, 1e9).rates(8, 500, 2e8, 0.5)
    assert rates == {"sets_per_second": 16, "tokens_per_second": 1000, "mfu": pytest.approx(0.4)}
    assert rates_note(rates) == "1,000 tokens/s  40% MFU"
    unknown = Speed(step_model, None).rates(8, 500, 0.0, 0.5)
    assert "mfu" not in unknown
    assert rates_note(unknown) == "1,000 tokens/s"


def test_peak_memory_is_reported_on_gpus(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_gpu = replace(ALONE, device=torch.device("cuda", 1))
    step_model = StepModel(build("dpo"), AutoModelForCausalLM.from_pretrained(folder), None, 600, on_gpu)
    monkeypatch.setattr("torch.cuda.max_memory_allocated", lambda device: 2**30 * (1 + device.index))
    assert Speed(step_model, None).rates(8, 500, 0.0, 0.5)["memory_gib"] == 2.0


@pytest.mark.parametrize(
    ("name", "rate"),
    [
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA A100 80GB PCIe", 312e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H100 NVL", 835e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA GeForce RTX 4090", 165.2e12),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None),
        ("Tesla T4", None),
        ("cpu: x86_64", None),
    ],
)
def test_a_peak_is_looked_up_by_the_name_of_the_device(name: str, rate: float | None) -> None:
    assert peak(name) == rate
