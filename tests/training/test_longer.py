"""Runs that get longer when they resume, what they save by default, and the best checkpoint."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from support.grids import some
from support.training import recipe, weights

from pairkit.errors import (
    ExistingOutputError,
    InputError,
    Interrupted,
    OutputError,
    RecipeError,
)
from pairkit.training.output.checkpoint import CHECKPOINTS, checkpoints, steps_done
from pairkit.training.output.entries import read_metrics
from pairkit.training.plan import plan
from pairkit.training.run import train
from pairkit.training.step.learning_rate import learning_rate
from pairkit.training.step.saving import best_step, save_interval


def saved(out: Path) -> list[int]:
    return [steps_done(path) for path in checkpoints(out / CHECKPOINTS)]


def same(one: Path, other: Path) -> bool:
    expected = weights(other)
    return all(torch.equal(value, expected[name]) for name, value in weights(one).items())


@pytest.mark.full
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_a_complete_run_gets_more_steps(tmp_path: Path, data: Path, model: Path, schedule: str) -> None:
    """At a constant rate it ends as one that had them from the start; a cosine is that of the longer run."""
    fields: dict[str, Any] = {"save_every": 1, "keep": 9}
    fields["optimizer"] = {"learning_rate": 1e-2, "warmup": 0, "schedule": schedule}
    out = tmp_path / "run"
    train(recipe(data, model, max_steps=3, **fields), out)
    longer = recipe(data, model, max_steps=6, **fields)
    train(longer, out)
    assert saved(out) == [1, 2, 3, 4, 5]
    assert (out / "model-000003" / "model.safetensors").is_file()
    whole = train(longer, tmp_path / "whole")
    assert same(out / "model", whole) == (schedule == "constant")
    lines = read_metrics(out, "train")
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    for line in lines:
        of = 3 if line["step"] <= 2 else 6  # it continued from the checkpoint of step 2
        assert line["learning_rate"] == learning_rate(longer.optimizer, line["step"] - 1, of)
    train(longer, out)  # complete: nothing is trained again
    assert not (out / "model-000006").exists()


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.full
@pytest.mark.parametrize("save_every", some(lambda every: every == 1, [None, 1]))
def test_a_complete_run_is_as_it_was_if_its_longer_start_fails(
    tmp_path: Path, data: Path, model: Path, monkeypatch: pytest.MonkeyPatch, save_every: int | None
) -> None:
    fields: dict[str, Any] = {"save_every": save_every, "eval_every": 1}
    base = Path(shutil.copytree(model, tmp_path / "base"))
    out = tmp_path / "run"
    train(recipe(data, base, max_steps=3, **fields), out)
    before = content(out)
    longer = recipe(data, base, max_steps=5, **fields)
    hidden = (base / "model.safetensors").rename(tmp_path / "hidden")
    with pytest.raises(ExistingOutputError, match=r"the model was changed .*safetensors is gone"):
        train(longer, out)
    assert content(out) == before
    hidden.rename(base / "model.safetensors")
    with monkeypatch.context() as patch:
        patch.setattr("pairkit.training.output.metrics.Trackers", _no_key)
        with pytest.raises(RecipeError, match="no key"):
            train(longer, out)
    assert content(out) == before
    with monkeypatch.context() as patch:
        patch.setattr("pairkit.training.output.directory.yaml.safe_dump", _full_disk)
        with pytest.raises(OutputError, match="No space left"):
            train(longer, out)
    assert content(out) == before
    train(longer, out)
    assert same(out / "model-000003", train(recipe(data, base, max_steps=3), tmp_path / "three"))


def test_a_run_that_holds_a_finished_model_is_never_removed(
    tmp_path: Path, data: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a start leaves it that gave a complete run more steps and was killed before its first checkpoint."""
    out = tmp_path / "run"
    train(recipe(data, model, max_steps=3), out)
    with monkeypatch.context() as patch:
        patch.setattr("pairkit.training.run._run", _stop)
        with pytest.raises(Interrupted):
            train(recipe(data, model, max_steps=5), out)
    assert not (out / "model").exists()
    with monkeypatch.context() as patch:
        patch.setattr("pairkit.training.output.metrics.Trackers", _no_key)
        with pytest.raises(RecipeError, match="no key"):
            train(recipe(data, model, max_steps=5), out)
    assert (out / "model-000003" / "model.safetensors").is_file()


def _no_key(*_: Any) -> None:
    raise RecipeError("no key")


def _full_disk(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.full
def test_a_stopped_run_with_more_steps_is_that_of_the_longer_recipe(
    tmp_path: Path, data: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Epochs may be raised as well; where the step is an epoch's last and smaller one, it is taken again."""
    fields: dict[str, Any] = {"max_steps": None, "sets_per_step": 10, "save_every": 1}
    out = tmp_path / "run"
    optimizer = {"learning_rate": 1e-2, "warmup": 0, "schedule": "constant"}
    short, longer = (recipe(data, model, epochs=n, optimizer=optimizer, **fields) for n in (1.0, 2.0))
    assert (plan(short).order.step_count, plan(longer).order.step_count) == (3, 5)
    with monkeypatch.context() as patch:
        patch.setattr("pairkit.training.run.save_model", _stop)
        with pytest.raises(Interrupted):
            train(short, out)
    assert saved(out) == [1, 2]
    assert same(train(longer, out), train(longer, tmp_path / "whole"))


def test_a_longer_run_does_not_continue_after_a_smaller_last_step(
    tmp_path: Path, data: Path, model: Path
) -> None:
    """Three steps of 10, 10 and 4 sets: the third of the longer run has 10."""
    optimizer = {"learning_rate": 1e-3, "warmup": 0, "schedule": "constant"}
    fields: dict[str, Any] = {
        "max_steps": None, "sets_per_step": 10, "save_every": 1, "eval_every": 1,
        "keep_best": "reward_margin", "optimizer": optimizer,
    }  # fmt: skip
    out = tmp_path / "run"
    train(recipe(data, model, epochs=1.0, **fields), out)
    assert saved(out) == [2, 3]
    longer = recipe(data, model, epochs=2.0, **fields)
    assert same(train(longer, out), train(longer, tmp_path / "whole"))


def _stop(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def test_a_run_does_not_get_shorter_than_it_is(tmp_path: Path, data: Path, model: Path) -> None:
    out = tmp_path / "run"
    train(recipe(data, model, save_every=1), out)
    with pytest.raises(ExistingOutputError, match=r"has already taken 4 steps, but the recipe ends after 3"):
        train(recipe(data, model, max_steps=3, save_every=1), out)
    shutil.rmtree(out / "model")
    with pytest.raises(ExistingOutputError, match=r"has already taken 3 steps, but the recipe ends after 2"):
        train(recipe(data, model, max_steps=2, save_every=1), out)
    train(recipe(data, model, max_steps=3, save_every=1), out)
    assert (out / "model").is_dir()


def test_a_run_saves_after_each_tenth_by_default() -> None:
    assert [save_interval(None, steps) for steps in (3, 10, 99, 100, 101, 5000)] == [10, 10, 10, 10, 11, 500]
    assert save_interval(7, 5000) == 7


@pytest.mark.full
def test_a_long_enough_run_saves_without_being_told(tmp_path: Path, data: Path, model: Path) -> None:
    train(recipe(data, model, max_steps=12, sets_per_step=1), tmp_path / "run")
    assert saved(tmp_path / "run") == [10]


def test_the_best_evaluation_is_the_first_of_equal_ones_after_the_start() -> None:
    lines = [
        {"step": 0, "loss": 0.1, "reward_accuracy": 1.0},
        {"step": 2, "loss": 0.5, "reward_accuracy": 0.7},
        {"step": 4, "loss": None},
        {"step": 6, "loss": 0.5, "reward_accuracy": 0.8},
    ]
    assert best_step(lines, "loss") == 2
    assert best_step(lines, "reward_accuracy") == 6
    assert best_step(lines, "reward_margin") is None
    assert best_step(lines[:1], "loss") is None


BEST: dict[str, Any] = {"max_steps": 8, "eval_every": 1, "save_every": 2, "keep": 1}


@pytest.fixture(scope="module")
def plain(data: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(recipe(data, model, **BEST), tmp_path_factory.mktemp("plain") / "run")


@pytest.mark.full
@pytest.mark.parametrize("metric", some(lambda metric: metric != "loss", ["loss", "chosen_logp"]))
def test_the_best_checkpoint_stays(tmp_path: Path, data: Path, model: Path, plain: Path, metric: str) -> None:
    out = tmp_path / "run"
    train(recipe(data, model, keep_best=metric, **BEST), out)
    evals = {line["step"]: line[metric] for line in read_metrics(out, "eval") if line["step"]}
    best = (min if metric == "loss" else max)(evals, key=lambda step: evals[step])
    assert saved(out) == sorted({best, 8 if best == 8 else 6})
    assert same(out / "model", plain)


def test_what_keep_best_needs(tmp_path: Path, data: Path, model: Path) -> None:
    with pytest.raises(RecipeError, match="keep_best compares evaluations: set eval_every"):
        recipe(data, model, keep_best="loss")
    with pytest.raises(RecipeError, match="'keep_best'"):
        recipe(data, model, keep_best="happiness", eval_every=1)
    with pytest.raises(InputError, match=r"keep_best needs held-out sets, .* no split 'none'"):
        plan(recipe(data, model, keep_best="loss", eval_every=1, eval_split="none"))


def test_an_edited_template_file_is_another_run(tmp_path: Path, data: Path, model: Path) -> None:
    """A run that resumes or gets more steps, and one that is complete, do not mix two templates."""
    file = tmp_path / "own.jinja"
    template = "{% for m in messages %}[{{ m['content'] }}]{% endfor %}"
    file.write_text(template, encoding="utf-8")
    fields: dict[str, Any] = {"save_every": 1, "template": {"file": str(file)}}
    out = tmp_path / "run"
    train(recipe(data, model, max_steps=2, **fields), out)
    file.write_text(template + "!", encoding="utf-8")
    for steps in (2, 3):
        with pytest.raises(ExistingOutputError, match=r"the template file '.*own\.jinja' was changed"):
            train(recipe(data, model, max_steps=steps, **fields), out)
    file.write_text(template, encoding="utf-8")
    train(recipe(data, model, max_steps=3, **fields), out)
    assert (out / "model-000002").is_dir()
