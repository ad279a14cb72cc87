"""The load balance of experts: transformers' loss of the whole batch, whatever it is cut into."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from support.grids import some
from support.processes import two_processes
from support.training import recipe, split_of, weights
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DeepseekV3Config,
    MixtralConfig,
    OlmoeConfig,
    Qwen3MoeConfig,
)
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

from pairkit.errors import ModelError, RecipeError
from pairkit.losses import build
from pairkit.losses.building import sampler_settings
from pairkit.training.cost.dry_run import estimate
from pairkit.training.distributed.processes import ALONE
from pairkit.training.logprobs.probe import pad
from pairkit.training.logprobs.selection import SetSelection
from pairkit.training.output.entries import read_metrics
from pairkit.training.plan import plan
from pairkit.training.run import train
from pairkit.training.step.averages import Averages
from pairkit.training.step.batch import StepModel
from pairkit.training.step.order import draw_seeds
from pairkit.training.step.prepare import prepare
from pairkit.training.step.router import routers_of

COMMON = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
    "max_position_embeddings": 128, "num_experts_per_tok": 2, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2, "router_aux_loss_coef": 0.02,
}  # fmt: skip
CONFIGS: dict[str, Any] = {
    "mixtral": lambda size: MixtralConfig(
        vocab_size=size, intermediate_size=24, num_local_experts=4, **COMMON
    ),
    "qwen3_moe": lambda size: Qwen3MoeConfig(
        vocab_size=size, moe_intermediate_size=8, intermediate_size=24, num_experts=5, head_dim=8,
        decoder_sparse_step=1, mlp_only_layers=[1], **COMMON,
    ),
    "olmoe": lambda size: OlmoeConfig(vocab_size=size, intermediate_size=8, num_experts=4, **COMMON),
}  # fmt: skip
COEFFICIENT = 0.5


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, model: Path) -> dict[str, Path]:
    """A model of each kind, whose routers are far from balance, with the tokenizer of the tests."""
    made = {}
    tokenizer = AutoTokenizer.from_pretrained(model)
    for name, config in CONFIGS.items():
        folder = tmp_path_factory.mktemp("experts") / name
        torch.manual_seed(0)
        network = AutoModelForCausalLM.from_config(config(len(tokenizer)))
        with torch.no_grad():
            for key, parameter in network.named_parameters():
                if "gate.weight" in key:
                    parameter.mul_(40)
        network.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        made[name] = folder
    return made


def theirs(network: Any, work: list[SetSelection]) -> torch.Tensor:
    """transformers' own loss of one padded batch of all texts."""
    texts = [np.concatenate([item.tokens.prompt, ids]) for item in work for ids in item.completions]
    width = max(map(len, texts))
    ids, mask = np.zeros((2, len(texts), width), np.int64)
    for row, text in enumerate(texts):
        ids[row, : len(text)], mask[row, : len(text)] = text, 1
    attention = torch.from_numpy(mask)
    output = network.model(torch.from_numpy(ids), attention_mask=attention, output_router_logits=True)
    experts = output.router_logits[0].shape[-1]
    return load_balancing_loss_func(output.router_logits, experts, 2, attention)


def gradient(folder: Path, data: Path, tmp: Path, budget: int, *, padded: bool, balance: float | None) -> Any:
    network = AutoModelForCausalLM.from_pretrained(folder).eval()
    if padded:
        pad(network)
    loss = build("dpo")
    sets = list(plan(recipe(data, folder)).train.sets)[:8]
    base = AutoModelForCausalLM.from_pretrained(folder).eval()
    split = split_of(loss, sets, base, tmp)
    models = StepModel(loss, network, None, budget, ALONE, routers=routers_of(network, balance))
    settings = sampler_settings(loss, {"sampling": "mc"}, "worst")
    batch = prepare(models, settings, split, range(8), draw_seeds(sets, 0, 0))
    value, _, work = models.gradients(batch, Averages())
    flat = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    return flat, batch, value, work, network


@pytest.mark.default("mixtral")
@pytest.mark.parametrize("name", some(lambda name: name != "olmoe", CONFIGS))
def test_value_and_gradient_are_those_of_transformers(
    folders: dict[str, Path], data: Path, tmp_path: Path, name: str
) -> None:
    """Padded, because transformers has no packed sequences; cut into many micro-batches."""
    arguments = (folders[name], data, tmp_path, 150)
    balanced, batch, value, work, network = gradient(*arguments, padded=True, balance=COEFFICIENT)
    plain, _, same_value, _, _ = gradient(*arguments, padded=True, balance=None)
    assert value == pytest.approx(same_value, abs=1e-6)  # the balance is logged by itself
    network.zero_grad()
    expected = theirs(network, work)
    assert batch.routing.value == pytest.approx(expected.item(), rel=1e-5)
    assert expected.item() > 2.001  # 2 is perfect balance
    (COEFFICIENT * expected).backward()
    moved = 0.0
    for key, parameter in network.named_parameters():
        if parameter.grad is not None and key in plain:
            torch.testing.assert_close(balanced[key] - plain[key], parameter.grad, rtol=1e-3, atol=1e-6)
            moved = max(moved, float(parameter.grad.abs().max()))
    assert moved > 1e-3


@pytest.mark.full
@pytest.mark.parametrize("budget", some(lambda budget: budget == 60, [60, 10**6]))
def test_shared_prompts_do_not_change_it(
    folders: dict[str, Path], data: Path, tmp_path: Path, budget: int
) -> None:
    arguments = (folders["mixtral"], data, tmp_path, budget)
    repeated, padded, *_ = gradient(*arguments, padded=True, balance=COEFFICIENT)
    shared, packed, *_ = gradient(*arguments, padded=False, balance=COEFFICIENT)
    assert packed.routing.value == pytest.approx(padded.routing.value, rel=1e-5)
    for key, expected in repeated.items():
        torch.testing.assert_close(shared[key], expected, rtol=1e-3, atol=1e-6)


@pytest.mark.full
@pytest.mark.parametrize("padded", some(lambda padded: not padded, [True, False]))
def test_micro_batches_do_not_change_it(
    folders: dict[str, Path], data: Path, tmp_path: Path, padded: bool
) -> None:
    whole, batch, *_ = gradient(folders["mixtral"], data, tmp_path, 10**6, padded=padded, balance=COEFFICIENT)
    for budget in (60, 400):
        cut, other, *_ = gradient(
            folders["mixtral"], data, tmp_path, budget, padded=padded, balance=COEFFICIENT
        )
        assert other.routing.rows == batch.routing.rows
        assert other.routing.value == pytest.approx(batch.routing.value, rel=1e-6)
        for key, expected in whole.items():
            torch.testing.assert_close(cut[key], expected, rtol=1e-4, atol=1e-6)


def test_padding_does_not_count(folders: dict[str, Path], data: Path, tmp_path: Path) -> None:
    _, batch, _, work, _ = gradient(folders["mixtral"], data, tmp_path, 10**6, padded=True, balance=0.1)
    tokens = sum(len(item.tokens.prompt) + len(ids) for item in work for ids in item.completions)
    assert batch.routing.rows == 2 * tokens  # two layers
    _, batch, *_ = gradient(folders["mixtral"], data, tmp_path, 10**6, padded=False, balance=0.1)
    assert batch.routing.rows == 2 * tokens  # a prompt passes once and counts for each completion


def test_a_run_logs_the_balance_and_improves_it(folders: dict[str, Path], data: Path, tmp_path: Path) -> None:
    fields = {"max_steps": 6, "sets_per_step": 4, "optimizer": {"learning_rate": 1e-2, "warmup": 0}}
    settings = {"router_aux_loss": 1.0, "gradient_checkpointing": True}
    train(recipe(data, folders["mixtral"], "mcpo", **fields, **settings), tmp_path / "on")
    values = [line["router_aux_loss"] for line in read_metrics(tmp_path / "on", "train")]
    assert values[-1] < values[0]
    train(recipe(data, folders["mixtral"], **fields), tmp_path / "off")
    assert all("router_aux_loss" not in line for line in read_metrics(tmp_path / "off", "train"))


def test_the_coefficient_is_the_recipes_or_that_of_the_model(folders: dict[str, Path], model: Path) -> None:
    network: nn.Module = AutoModelForCausalLM.from_pretrained(folders["mixtral"])
    assert routers_of(network, None) is None
    assert routers_of(network, 0.3).coefficient == 0.3
    assert routers_of(network, "model").coefficient == 0.02
    config = DeepseekV3Config(
        vocab_size=50, hidden_size=16, intermediate_size=16, moe_intermediate_size=8, num_hidden_layers=1,
        first_k_dense_replace=0, n_routed_experts=4, n_group=1, topk_group=1, num_experts_per_tok=2,
        num_attention_heads=2, num_key_value_heads=2, q_lora_rank=8, kv_lora_rank=8, qk_rope_head_dim=4,
        qk_nope_head_dim=4, v_head_dim=4,
    )  # fmt: skip
    other = AutoModelForCausalLM.from_config(config)  # balanced by a bias that no loss changes
    with pytest.raises(ModelError, match="has no router_aux_loss_coef; set a number"):
        routers_of(other, "model")
    with pytest.raises(ModelError, match="LlamaForCausalLM has no routers; set it to null"):
        routers_of(AutoModelForCausalLM.from_pretrained(model), 0.1)


def test_a_plan_refuses_a_model_without_experts_and_counts_the_pass(
    folders: dict[str, Path], data: Path, model: Path
) -> None:
    with pytest.raises(ModelError, match="LlamaForCausalLM has no routers"):
        plan(recipe(data, model, router_aux_loss=0.1))
    plain, balanced = (
        estimate(plan(recipe(data, folders["mixtral"], "mcpo", router_aux_loss=value)))["step"]
        for value in (None, 0.1)
    )
    # All completions for the draw, and the drawn ones for the balance.
    assert balanced["scored_tokens"] > plain["scored_tokens"] + plain["tokens_shared"] // 2


def test_a_coefficient_that_is_no_number_is_refused(data: Path, model: Path) -> None:
    for value in (-1, "auto"):
        with pytest.raises(RecipeError, match="router_aux_loss"):
            recipe(data, model, router_aux_loss=value)


@pytest.mark.full
@pytest.mark.parametrize("shard", [False, True])
def test_two_processes_balance_like_one(
    folders: dict[str, Path], data: Path, tmp_path: Path, shard: bool
) -> None:
    fields = {"router_aux_loss": 0.5, "max_steps": 3, "sets_per_step": 3, "tokens_per_micro_batch": 150}
    settings = recipe(data, folders["mixtral"], optimizer={"learning_rate": 1e-3, "warmup": 0}, **fields)
    train(settings, tmp_path / "one")
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(settings.model_dump(mode="json") | {"shard": shard}))
    words = ["--recipe", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "two")]
    two_processes("--module", "pairkit", "train", *words)
    one, two = (
        [line["router_aux_loss"] for line in read_metrics(tmp_path / run, "train")] for run in ("one", "two")
    )
    assert two == pytest.approx(one, rel=1e-4)
    expected = weights(tmp_path / "one" / "model")
    for name, value in weights(tmp_path / "two" / "model").items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-4)
