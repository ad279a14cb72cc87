"""The check before the first step stops a run whose packed pass is wrong, and no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.architectures import PADDED, sets, tiny
from support.grids import grid
from support.tiny import model_folder, random_sets, write_data
from transformers import AutoModelForCausalLM

from pairkit.errors import TrainingError
from pairkit.recipes import validate
from pairkit.training.logprobs import attention, forward, packing, probe
from pairkit.training.logprobs.self_check import check_packed
from pairkit.training.recipe import TrainRecipe
from pairkit.training.run import train

COUNTS = ((3, 5, 1), (6, 4), (2,), (9, 1, 7, 3), (30, 20, 10), (2, 2))


@pytest.mark.parametrize(
    ("block", "architecture"),
    grid(
        lambda block, name: name not in PADDED or (name == "GptOss" and block == 0),
        [0, 256],
        ["Llama", "Gemma3Text", "Mixtral", *PADDED],
    ),
)
def test_models_pass_the_check(architecture: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "BLOCK", block)
    check_packed(tiny(architecture), sets(COUNTS), torch.float32)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_bfloat16_model_passes_the_check(precision: torch.dtype) -> None:
    check_packed(tiny().to(precision), sets(COUNTS), precision)


def test_a_model_that_ignores_the_layout_is_padded(
    messages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing.Packed, "bias", lambda *_: None)
    assert not probe.packs(tiny())
    assert "a packed sequence gives other states" in messages[0]


def test_a_wrong_pass_is_refused_with_set_and_completion(monkeypatch: pytest.MonkeyPatch) -> None:
    """Completions that see each other, as with an attention that takes the mask for a causal one."""
    model = tiny()
    assert probe.packs(model)
    monkeypatch.setattr(packing.Packed, "bias", lambda *_: None)
    with pytest.raises(TrainingError, match=r"completion \d: its mean log-prob is .* but .* by itself"):
        check_packed(model, sets(COUNTS), torch.float32)


def test_a_window_that_only_long_texts_reach_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe of short texts cannot know how a model attends over longer ones."""
    model = tiny("Mistral-window", sliding_window=12)
    monkeypatch.setattr(packing, "BLOCK", 0)
    attend = attention._attend_by_segment

    def no_window(*arguments: Any) -> torch.Tensor:
        return attend(*arguments[:-1], arguments[-1]._replace(window=None))

    monkeypatch.setattr(attention, "_attend_by_segment", no_window)
    assert probe.packs(model)
    with pytest.raises(TrainingError, match=r"set \d, "):
        check_packed(model, sets(COUNTS), torch.float32)


def recipe(tmp_path: Path) -> TrainRecipe:
    data, model = write_data(tmp_path / "data", random_sets(8)), model_folder(tmp_path / "model")
    network = AutoModelForCausalLM.from_pretrained(model)
    with torch.no_grad():  # small weights predict the same whatever stands before
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8)
    network.save_pretrained(model)
    base = {"data": str(data), "model": str(model), "loss": "simpo", "max_steps": 1, "max_length": 96}
    return validate(TrainRecipe, base)


def test_a_run_stops_before_its_first_step_and_share_prompts_false_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bias = packing.Packed.bias
    passes: list[bool] = []

    def wrong(self: packing.Packed, *given: Any) -> torch.Tensor | None:
        return None if passes else bias(self, *given)

    monkeypatch.setattr(packing.Packed, "bias", wrong)
    tokens = forward.statistics_of_tokens

    def noted(*arguments: Any) -> Any:
        passes.append(arguments[-1])
        return tokens(*arguments)

    monkeypatch.setattr(forward, "statistics_of_tokens", noted)
    plain = recipe(tmp_path)
    with pytest.raises(TrainingError, match="train it with share_prompts=false"):
        train(plain, tmp_path / "run")
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    passes.clear()
    train(plain.model_copy(update={"share_prompts": False}), tmp_path / "run")
    assert set(passes) == {False}
