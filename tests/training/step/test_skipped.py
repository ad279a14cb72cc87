"""A non-finite step changes nothing, is counted, and ends the run when others follow."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from support.processes import nowhere_finite
from transformers import AutoModelForCausalLM

from pairkit.errors import TrainingError
from pairkit.recipes import validate
from pairkit.training.output import checkpoint
from pairkit.training.output.entries import read_metrics
from pairkit.training.recipe import TrainRecipe
from pairkit.training.run import train
from pairkit.training.step.batch import StepModel


def recipe(data: Path, model: Path, loss: Any = "alpha_dpo", **fields: Any) -> TrainRecipe:
    base = {
        "data": str(data), "model": str(model), "loss": loss, "sets_per_step": 4, "max_steps": 6,
        "max_length": 96, "save_every": 1, "keep": 9, "optimizer": {"learning_rate": 1e-2},
    }  # fmt: skip
    return validate(TrainRecipe, base | fields)


def state(out: Path, step: int) -> dict[str, Any]:
    folder = checkpoint.checkpoint_path(out / "checkpoints", step)
    files = (checkpoint.WEIGHTS_FILE, checkpoint.STATE_FILE)
    return {name: torch.load(folder / name, weights_only=True) for name in files}


def saved(out: Path) -> list[str]:
    return [path.name for path in checkpoint.checkpoints(out / "checkpoints")]


@pytest.mark.full
@pytest.mark.parametrize(
    "loss", [pytest.param("alpha_dpo", marks=pytest.mark.full), "mcpo:1.0+bco:0.2+alpha_dpo:0.5"]
)
def test_a_skipped_step_changes_neither_weights_nor_statistics(
    tmp_path: Path, data: Path, model: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, loss: str,
) -> None:  # fmt: skip
    """A weight is NaN in step 3, and with it all log-probs that the step sees."""
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        nowhere_finite(patch, {3})
        train(recipe(data, model, loss), out)
    assert capsys.readouterr().err.count("skipped step 3: loss is NaN (1 in a row, 3 end the run)\n") == 1
    assert saved(out) == [f"step-{n:06d}" for n in (1, 2, 4, 5)]  # not while steps are skipped
    entries = read_metrics(out, "train")
    assert [entry["skipped"] for entry in entries] == [0, 0, 1, 1, 1, 1]
    assert [entry["loss"] is None for entry in entries] == [False, False, True, False, False, False]
    assert "NaN" not in (out / "metrics.jsonl").read_text()
    plain = tmp_path / "plain"
    train(recipe(data, model, loss), plain)
    rates = [[entry["learning_rate"] for entry in read_metrics(run, "train")] for run in (out, plain)]
    assert rates[0] == rates[1]  # the schedule advances
    counted, expected = (
        statistics if loss == "alpha_dpo" else statistics["alpha_dpo"]
        for statistics in (state(run, 4)["state.pt"]["loss"] for run in (out, plain))
    )
    assert counted["steps"] == expected["steps"] - 1
    assert all(torch.isfinite(value) for value in counted.values())
    optimizer = state(out, 5)["state.pt"]["optimizer"]["state"]
    assert {int(entry["step"]) for entry in optimizer.values()} == {4}


def test_a_skipped_step_leaves_the_weights_as_they_were(
    tmp_path: Path, data: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        nowhere_finite(patch, {1})
        train(recipe(data, model, max_steps=1), tmp_path / "run")
    start, end = (
        AutoModelForCausalLM.from_pretrained(folder).state_dict()
        for folder in (model, tmp_path / "run/model")
    )
    assert all(torch.equal(value, end[name]) for name, value in start.items())


@pytest.mark.full
def test_an_infinite_gradient_is_skipped_too(
    tmp_path: Path, data: Path, model: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    gradients = StepModel.gradients

    def infinite(self: StepModel, *arguments: Any) -> Any:
        result = gradients(self, *arguments)
        next(self.model.parameters()).grad[0] = torch.inf  # type: ignore[index]
        return result

    monkeypatch.setattr(StepModel, "gradients", infinite)
    with pytest.raises(
        TrainingError, match="gradient norm is inf at step 2; stopping after 2 consecutive skipped steps"
    ):
        train(recipe(data, model, max_skipped=2), tmp_path / "run")
    assert "skipped step 1: gradient norm is inf (1 in a row, 2 end the run)" in capsys.readouterr().err


def test_too_many_in_a_row_end_the_run_and_the_last_checkpoint_is_sound(
    tmp_path: Path, data: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two and then one more are not three in a row; the same command resumes from the last checkpoint."""
    settings = recipe(data, model, max_steps=9)
    with monkeypatch.context() as patch:
        nowhere_finite(patch, {2, 3, 5, 7, 8, 9})
        with pytest.raises(
            TrainingError,
            match=r"loss is NaN at step 9; stopping after 3 consecutive skipped steps .*max_skipped=3",
        ):
            train(settings, tmp_path / "run")
    assert saved(tmp_path / "run") == [f"step-{n:06d}" for n in (1, 4, 6)]
    assert [entry["skipped"] for entry in read_metrics(tmp_path / "run", "train")] == [0, 1, 2, 2, 3, 3, 4, 5]
    train(settings, tmp_path / "run")
    with monkeypatch.context() as patch:
        nowhere_finite(patch, {2, 3, 5})
        train(settings, tmp_path / "other")
    assert_same(tmp_path / "run", tmp_path / "other")


@pytest.mark.full
def test_a_resumed_run_continues_the_count(
    tmp_path: Path, data: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After step 3, when one was skipped and two will be."""
    nowhere_finite(monkeypatch, {2, 5, 6})
    settings = recipe(data, model, max_steps=7)
    train(settings, tmp_path / "whole")
    assert saved(tmp_path / "whole")[-1] == "step-000004"
    left_out = shutil.ignore_patterns("model", "step-000004")
    shutil.copytree(tmp_path / "whole", tmp_path / "run", ignore=left_out)
    train(settings, tmp_path / "run")
    assert_same(tmp_path / "run", tmp_path / "whole")


def test_a_run_that_ends_in_skipped_steps_warns(
    tmp_path: Path, data: Path, model: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    nowhere_finite(monkeypatch, {5, 6})
    train(recipe(data, model), tmp_path / "run")
    assert "the last 2 steps were skipped; evaluate the model before you use it\n" in capsys.readouterr().err


def assert_same(run: Path, other: Path) -> None:
    found, expected = (
        AutoModelForCausalLM.from_pretrained(out / "model").state_dict() for out in (run, other)
    )
    torch.testing.assert_close(dict(found), dict(expected), rtol=0, atol=0)
    lines = [
        [
            {key: value for key, value in json.loads(line).items() if not key.endswith("_per_second")}
            for line in text
        ]
        for text in ((out / "metrics.jsonl").read_text().splitlines() for out in (run, other))
    ]
    assert lines[0] == lines[1]
