"""Sizes that differ between layers, and costs that cannot be counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.architectures import tiny
from support.shrink import shrink
from support.shrink_table import OVERRIDES
from support.training import recipe
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from pairkit.losses import build
from pairkit.progress import console
from pairkit.training.cost.dry_run import estimate_memory
from pairkit.training.cost.operations import cost_per_token
from pairkit.training.cost.speed import Speed
from pairkit.training.distributed.processes import ALONE
from pairkit.training.plan import plan
from pairkit.training.run import train
from pairkit.training.step.batch import StepModel


def empty(model_type: str) -> torch.nn.Module:
    config = shrink(CONFIG_MAPPING[model_type], OVERRIDES.get(model_type))
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)  # type: ignore[no-any-return]


def test_layers_with_heads_of_their_own_size_are_counted() -> None:
    """Gemma 4's full layers have larger heads than its windowed ones, 16 against 8, 4 heads each."""
    assert cost_per_token(empty("gemma4_text")).attention == {4: 4 * (8 + 8), None: 4 * (16 + 16)}


def test_layers_with_an_mlp_of_their_own_size_are_counted(data: Path, model: Path) -> None:
    planned = plan(recipe(data, model))
    one = estimate_memory(planned, empty("gemma3n_text"), shared=True).activations
    config = shrink(CONFIG_MAPPING["gemma3n_text"], OVERRIDES["gemma3n_text"])
    config.intermediate_size = [48, 96, 48, 48]
    with torch.device("meta"):
        other = AutoModelForCausalLM.from_config(config)
    larger = estimate_memory(planned, other, shared=True).activations
    assert one is not None
    assert larger is not None
    assert larger > one


@pytest.mark.parametrize(("model_type", "stacked", "used"), [("mixtral", 4, 2), ("gpt_oss", 4, 2)])
def test_a_token_meets_the_experts_that_it_is_sent_to(model_type: str, stacked: int, used: int) -> None:
    network = empty(model_type)
    every = sum(p.numel() for n, p in network.named_parameters() if "experts" in n and p.ndim == 3)
    assert every > 0
    whole = sum(
        p.numel() for n, p in network.named_parameters()
        if p.ndim > 1 and "embed_tokens" not in n and "lm_head" not in n and not n.endswith("_bias")
    )  # fmt: skip
    assert cost_per_token(network).trained >= whole - every + every * used // stacked
    assert cost_per_token(network).trained < whole


class Secret:
    """A configuration that tells nothing of its layers."""

    vocab_size = 67

    def get_text_config(self) -> Secret:
        return self

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"{name} differs between layers")


def test_a_cost_that_cannot_be_counted_is_unknown(
    data: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(console, "print", lambda line, **_: lines.append(line))
    network = tiny()
    network.config = Secret()
    speed = Speed(StepModel(build("dpo"), network, None, 600, ALONE), 1e12)
    assert "mfu" not in speed.rates(1, 1, 0.0, 1.0)
    assert speed.operations([], []) == 0  # type: ignore[arg-type]
    memory = estimate_memory(plan(recipe(data, model)), network, shared=True)
    assert memory.weights > 0
    assert memory.total is None
    assert memory.in_mib()["activations"] == memory.in_mib()["total"] == "unknown"
    assert len([line for line in lines if "LlamaForCausalLM: its operations cannot be counted" in line]) == 1
    assert len([line for line in lines if "LlamaForCausalLM: its activations cannot be counted" in line]) == 1


def test_a_run_does_not_stop_where_nothing_can_be_counted(
    data: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        raise RuntimeError("no such field")

    monkeypatch.setattr("pairkit.training.cost.operations.layers_of", refuse)
    monkeypatch.setattr("pairkit.training.cost.memory.layers_of", refuse)
    monkeypatch.setattr("pairkit.training.cost.speed.peak", lambda device: 1e12)
    assert train(recipe(data, model, max_steps=1), tmp_path / "run").is_dir()
    assert "mfu" not in (tmp_path / "run" / "metrics.jsonl").read_text()
