"""What a dry run reports of steps, model and memory, compared with a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from support.grids import grid
from support.processes import perturbed
from support.tiny import model_folder, random_sets, write_data
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen3Config
from typer.testing import CliRunner

from pairkit.cli import app
from pairkit.recipes import validate
from pairkit.training.cost.dry_run import estimate, estimate_memory
from pairkit.training.cost.loads import COUNTED, first_steps
from pairkit.training.cost.memory import Footprint
from pairkit.training.cost.operations import token_load
from pairkit.training.distributed.processes import ALONE
from pairkit.training.logprobs.forward import score
from pairkit.training.logprobs.probe import packs, pad
from pairkit.training.logprobs.reference_cache import reference_sums
from pairkit.training.logprobs.selection import SetSelection
from pairkit.training.lora import with_adapters
from pairkit.training.models import policy
from pairkit.training.plan import plan
from pairkit.training.recipe import TrainRecipe
from pairkit.training.step.averages import Averages
from pairkit.training.step.batch import StepModel
from pairkit.training.step.examples import split_for
from pairkit.training.step.order import draw_seeds
from pairkit.training.step.prepare import prepare
from pairkit.training.tokens.token_set import TokenSet


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data") / "sets", random_sets(24), random_sets(4, seed=1))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder(tmp_path_factory.mktemp("model") / "llama")


def recipe(data: Path, model: Path, loss: str = "dpo", **fields: Any) -> TrainRecipe:
    base: dict[str, Any] = {
        "data": str(data), "model": str(model), "loss": loss, "sets_per_step": 8, "max_steps": 3,
        "max_length": 96, "tokens_per_micro_batch": 400,
    }  # fmt: skip
    return validate(TrainRecipe, base | fields)


CASES = [
    ("dpo", "all", True),
    ("dpo", "random", False),  # others than the longest are drawn
    ("dpo", "max", False),
    ("sft", "all", True),
    ("bco", "all", True),
    ("bco", "max", False),
    ("kto", "all", True),
    ("tdpo2", "all", True),
]


@pytest.mark.default("case7-False", "case3-False", "case0-True")
@pytest.mark.parametrize(
    ("case", "shared"),
    # Each loss and sampling once, packed and padded by turns.
    grid(lambda case, shared: shared == (CASES.index(case) % 2 == 0), CASES, [True, False]),
)
def test_counted_steps_are_those_of_the_run(
    data: Path, model: Path, tmp_path: Path, case: tuple[str, str, bool], shared: bool
) -> None:
    """With `exact` the longest completions are those that are drawn."""
    loss, sampling, exact = case
    planned = plan(recipe(data, model, loss, negatives={"sampling": sampling}))
    network = AutoModelForCausalLM.from_pretrained(model)
    if not shared:
        pad(network)
    live, sets, built = perturbed(network), planned.train.sets, planned.loss

    def compute(wanted: list[TokenSet]) -> Any:
        return reference_sums(wanted, tmp_path / "sums.parquet", lambda: live, tokens_per_micro_batch=10**6)

    split = split_for(built.needs, sets, compute, seed=0, max_length=96)
    step_model = StepModel(built, network, live if "token_kl" in built.needs else None, 400, ALONE)
    packs(network, live)
    passes: list[None] = []
    for number, step in enumerate(first_steps(planned, shared=shared)):
        rows = planned.order.step_sets(number)
        batch = prepare(step_model, planned.negatives, split, rows, draw_seeds([sets[i] for i in rows], 0, 0))
        passes.clear()
        counting = network.register_forward_hook(lambda *_: passes.append(None))
        selected = step_model.gradients(batch, Averages()).work
        counting.remove()
        here = sum(part.tokens for part in step.micro_batches)
        assert here == (step.shared if shared else step.repeated).tokens
        tokens = token_load(selected, shared=shared).tokens
        assert tokens == here if exact else tokens < here
        if batch.draw is None:
            before = token_load(batch.scored, shared=shared).tokens
            assert step.scored.tokens == before or (not exact and step.scored.tokens > before)
        else:
            every = [SetSelection(sets[i], tuple(range(1, len(sets[i].columns)))) for i in rows]
            assert step.scored.tokens == token_load(every, prompts=False).tokens
        if exact:
            assert len(step.micro_batches) == len(passes)


def test_only_the_first_of_many_steps_are_counted(data: Path, model: Path) -> None:
    planned = plan(recipe(data, model, max_steps=1000))
    assert len(first_steps(planned, shared=True)) == COUNTED
    assert len(first_steps(plan(recipe(data, model)), shared=True)) == 3


def dry_run(data: Path, model: Path, *words: str) -> dict[str, Any]:
    command = ["train", "--loss", "mcpo", "--data", str(data), "--model", str(model), "--dry-run"]
    shown = CliRunner().invoke(app, [*command, "max_length=96", "sets_per_step=8", *words])
    assert shown.exit_code == 0, shown.output
    return dict(yaml.safe_load(shown.stdout))


def test_a_dry_run_reports_shared_prompts_and_memory(data: Path, model: Path) -> None:
    shown, network = dry_run(data, model), AutoModelForCausalLM.from_pretrained(model)
    weights = sum(p.numel() for p in network.parameters())
    assert shown["parameters"] == {"parameters": weights, "trained": weights, "prompts": "shared"}
    step = shown["step"]
    assert step["tokens_shared"] < step["tokens_repeated"]
    assert step["scored_tokens"] > 0
    assert set(shown["memory_mib"]) == {"device", *Footprint._fields, "total"}
    padded = dry_run(data, model, "share_prompts=false")
    assert padded["parameters"]["prompts"] == "repeated: share_prompts is false"
    assert padded["step"]["micro_batches"]["most"] >= step["micro_batches"]["most"]


def config_folder(folder: Path, config: Any) -> Path:
    config.save_pretrained(folder)
    return folder / "config.json"


def test_a_model_that_cannot_pack_is_recognized_without_weights(data: Path, tmp_path: Path) -> None:
    kinds = ["linear_attention", "full_attention"]
    config = Qwen3Config(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8,
    )  # fmt: skip
    config.layer_types = kinds
    path = config_folder(tmp_path / "mixed", config)
    described = estimate(plan(recipe(data, path, tokenizer="bpe:300")))
    assert described["parameters"]["prompts"] == "repeated: it has layers of linear_attention"


@pytest.mark.parametrize("lora", [None, {"r": 4, "merge": True}])
def test_weights_gradients_and_moments_are_counted_to_the_byte(
    data: Path, model: Path, lora: dict[str, Any] | None
) -> None:
    planned = plan(recipe(data, model, "tdpo2", lora=lora))
    network = AutoModelForCausalLM.from_pretrained(model)
    whole = sum(p.numel() for p in network.parameters())
    if planned.recipe.lora:
        network = with_adapters(network, planned.recipe.lora, 0)
    memory = estimate_memory(planned, network, shared=True)
    trained = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained)
    for parameter in trained:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    states = [value for state in optimizer.state.values() for value in state.values() if value.ndim]
    assert memory.optimizer == sum(value.numel() * 4 for value in states)
    assert memory.gradients == sum(p.grad.numel() * 4 for p in trained if p.grad is not None)
    buffers = sum(value.numel() * 4 for value in network.buffers())
    assert memory.weights == 4 * sum(p.numel() for p in network.parameters()) + buffers
    assert memory.reference == (0 if lora else 4 * whole + buffers)


def test_four_bits_take_what_their_states_hold(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    config = LlamaConfig(
        hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4, vocab_size=300,
        pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "model")
    lora = {"r": 4, "base": "nf4"}
    planned = plan(recipe(data, tmp_path / "model", tokenizer="bpe:300", lora=lora))
    assert planned.recipe.lora
    plain = with_adapters(AutoModelForCausalLM.from_config(config), planned.recipe.lora, 0)
    quantized = policy(planned, ALONE)
    states = [m.weight.quant_state for m in quantized.modules() if hasattr(m, "compute_dtype")]
    constants = sum(state.absmax.nbytes + state.state2.absmax.nbytes for state in states)
    held = sum(p.numel() * p.element_size() for p in [*quantized.parameters(), *quantized.buffers()])
    assert len(states) == 14
    assert estimate_memory(planned, plain, shared=True).weights == pytest.approx(held + constants, rel=0.001)


def saved_bytes(network: torch.nn.Module, work: list[SetSelection]) -> int:
    """Count the bytes that a pass saves for backward, without weights."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    saved: dict[int, torch.UntypedStorage] = {}

    def note(value: torch.Tensor) -> torch.Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage
        return value

    with torch.autograd.graph.saved_tensors_hooks(note, lambda value: value):
        scored = score(network, work)
    assert scored.policy.sum.requires_grad
    return sum(storage.nbytes() for storage in saved.values())


@pytest.mark.parametrize(
    ("kind", "dtype"),
    grid(
        lambda kind, dtype: (kind is LlamaConfig) == (dtype == "float32"),
        [LlamaConfig, Qwen3Config],
        ["float32", "bfloat16"],
    ),
)
def test_activations_are_near_those_that_a_pass_saves(
    data: Path, tmp_path: Path, kind: Any, dtype: str
) -> None:
    """Within a quarter, because tensors saved twice, masks and rounded copies are not modeled."""
    config = kind(
        hidden_size=64, intermediate_size=160, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, vocab_size=300,
    )  # fmt: skip
    settings = {"tokenizer": "bpe:300", "dtype": dtype, "sets_per_step": 24, "max_steps": 1}
    path = config_folder(tmp_path / "model", config)
    planned = plan(
        recipe(data, path, tokens_per_micro_batch=10**6, negatives={"sampling": "all"}, **settings)
    )
    network = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
    packs(network)
    work = [SetSelection.all(item) for item in planned.train.sets]
    saved = saved_bytes(network, work)
    assert estimate_memory(planned, network, shared=True).activations == pytest.approx(saved, rel=0.25)
    less = planned.recipe.model_copy(update={"gradient_checkpointing": True})
    activations = estimate_memory(plan(less), network, shared=True).activations
    assert activations < 0.6 * saved
