"""Sweeps on tiny data: resumed, extended, compared by the metric that was named, several at a time."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.tiny import model_folder, random_sets, write_data
from support.training import recipe

from pairkit.errors import ExistingOutputError, InputError, Interrupted, RecipeError, TrainingError
from pairkit.sweep import run
from pairkit.sweep.grid import Point, parse_axes
from pairkit.sweep.parallel import devices_of
from pairkit.sweep.results import Run, measured, settings
from pairkit.sweep.run import sweep
from pairkit.training.output.entries import read_metrics
from pairkit.training.recipe import TrainRecipe
from pairkit.training.run import train
from pairkit.version import __version__

AXES = ["optimizer.learning_rate=1e-3,1e-2", "seed=0,1"]


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("tiny")
    data = write_data(folder / "sets", random_sets(24), random_sets(8, seed=1))
    made = recipe(data, model_folder(folder / "model"), max_steps=2, trackers=[])
    return made.model_dump(mode="json", exclude_unset=True)


def axes(*texts: str) -> Any:
    return parse_axes(texts or AXES, TrainRecipe)


@pytest.fixture(scope="module")
def swept(content: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Run]]:
    out = tmp_path_factory.mktemp("sweep") / "out"
    return out, sweep(content, axes(), "loss", out)


def models(out: Path) -> dict[str, int]:
    return {path.parts[-3]: path.stat().st_mtime_ns for path in out.glob("*/model/model.safetensors")}


def test_each_setting_is_a_run_with_its_value(swept: tuple[Path, list[Run]]) -> None:
    out, runs = swept
    assert len(models(out)) == 4
    for each in runs:
        assert each.value == read_metrics(each.folder, "eval")[-1]["loss"]
        recipe = json.loads((each.folder / "run.json").read_text())["recipe"]
        assert recipe["optimizer"]["learning_rate"] == each.point.values["optimizer.learning_rate"]
        assert recipe["seed"] == each.point.values["seed"]
    results = json.loads((out / "results.json").read_text())
    settings_of_sweep = json.loads((out / "sweep.json").read_text())
    assert results["pairkit"] == settings_of_sweep["pairkit"] == __version__
    assert [line["loss"] for line in results["runs"]] == [each.value for each in runs]


def test_seeds_are_averaged_and_the_best_is_first(swept: tuple[Path, list[Run]]) -> None:
    rows = settings(swept[1], "loss")
    by_hand: dict[float, list[float]] = {}
    for each in swept[1]:
        by_hand.setdefault(each.point.values["optimizer.learning_rate"], []).append(float(each.value or 0))
    means = {rate: sum(values) / 2 for rate, values in by_hand.items()}
    assert [row.values["optimizer.learning_rate"] for row in rows] == sorted(means, key=means.__getitem__)
    assert [row.mean for row in rows] == pytest.approx(sorted(means.values()))
    reversed_ = settings(swept[1], "reward_accuracy")
    assert [row.values for row in reversed_] == [row.values for row in rows][::-1]


def test_a_run_that_diverged_is_worst() -> None:
    points = [Point({"loss.beta": beta}, {}) for beta in (0.1, 0.2, 0.3)]
    runs = [Run(point, Path(), value) for point, value in zip(points, (None, 0.5, 0.4), strict=True)]
    assert [row.values["loss.beta"] for row in settings(runs, "loss")] == [0.3, 0.2, 0.1]
    assert settings(runs, "loss")[-1].mean is None


def test_only_runs_that_are_not_finished_are_trained(
    swept: tuple[Path, list[Run]], content: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, runs = swept
    before = models(out)
    with monkeypatch.context() as patch:
        patch.setattr(run, "train", lambda *_, **__: pytest.fail("trained again"))
        assert sweep(content, axes(), "loss", out) == runs
    more = sweep(content, axes("optimizer.learning_rate=1e-3,1e-2", "seed=0,1,2"), "loss", out)
    assert len(more) == 6
    assert before.items() < models(out).items()


def test_the_metric_is_named_beforehand(swept: tuple[Path, list[Run]], content: dict[str, Any]) -> None:
    with pytest.raises(ExistingOutputError, match="with other settings: metric 'loss' -> 'reward_margin'"):
        sweep(content, axes(), "reward_margin", swept[0])
    with pytest.raises(ExistingOutputError, match=r"recipe\.max_length 96 -> 64"):
        sweep({**content, "max_length": 64}, axes(), "loss", swept[0])
    with pytest.raises(RecipeError, match="unknown metric 'los'; did you mean 'loss'"):
        sweep(content, axes(), "los", swept[0])
    with pytest.raises(RecipeError, match=r"set eval\.generate\.benchmark"):
        sweep(content, axes(), "accuracy", swept[0])


def test_a_wrong_setting_is_found_before_any_run(content: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="beta"):
        sweep(content, axes("loss.beta=0.1,-1"), "loss", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_stopped_sweep_continues(
    content: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []

    def stopping(*arguments: Any, **more: Any) -> Path:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return train(*arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(run, "train", stopping)
        with pytest.raises(Interrupted, match="the same command continues"):
            sweep(content, axes("seed=0,1"), "loss", tmp_path)
    before = models(tmp_path)
    assert list(before) == ["seed=0"]
    assert [each.value is None for each in sweep(content, axes("seed=0,1"), "loss", tmp_path)] == [
        False,
        False,
    ]
    assert before.items() < models(tmp_path).items()


def test_a_diverged_run_is_a_result(
    content: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverging(recipe: TrainRecipe, *arguments: Any, **more: Any) -> Path:
        if recipe.seed == 0:
            raise TrainingError("the loss is NaN")
        return train(recipe, *arguments, **more)

    monkeypatch.setattr(run, "train", diverging)
    first, second = sweep(content, axes("seed=0,1"), "loss", tmp_path)
    assert first.value is None
    assert second.value is not None


def test_a_run_without_held_out_sets_has_no_value(tmp_path: Path) -> None:
    data = write_data(tmp_path / "sets", random_sets(24))
    made = recipe(data, model_folder(tmp_path / "model"), max_steps=1, trackers=[])
    with pytest.raises(
        InputError, match="has no loss of held-out sets: build the dataset with test_fraction"
    ):
        sweep(made.model_dump(mode="json", exclude_unset=True), [], "loss", tmp_path / "out")


@pytest.mark.full
def test_another_sweep_replaces_one_that_may_be_deleted(content: dict[str, Any], tmp_path: Path) -> None:
    sweep(content, axes("seed=0"), "loss", tmp_path)
    (tmp_path / "mine.txt").write_text("mine")
    sweep(content, axes("seed=1"), "reward_margin", tmp_path, on_existing="delete")
    assert list(models(tmp_path)) == ["seed=1"]
    assert (tmp_path / "mine.txt").exists()
    with pytest.raises(ExistingOutputError):
        sweep(content, axes("seed=1"), "reward_margin", tmp_path, on_existing="raise")


def test_a_longer_sweep_makes_all_runs_longer(content: dict[str, Any], tmp_path: Path) -> None:
    sweep({**content, "max_steps": 1}, axes("seed=0"), "loss", tmp_path)
    runs = sweep({**content, "max_steps": 2}, axes("seed=0,1"), "loss", tmp_path)
    assert [read_metrics(each.folder, "train")[-1]["step"] for each in runs] == [2, 2]


@pytest.mark.parametrize("part", ["the model", "the dataset", "the tokenizer"])
def test_runs_that_were_made_of_something_else_are_not_compared(
    part: str, content: dict[str, Any], tmp_path: Path
) -> None:
    data = write_data(tmp_path / "sets", random_sets(24), random_sets(8, seed=1))
    model = model_folder(tmp_path / "model")
    own = {**content, "data": str(data), "model": str(model)}
    sweep(own, axes("seed=0"), "loss", tmp_path / "out")
    assert len(sweep(own, axes("seed=0,1"), "loss", tmp_path / "out")) == 2
    if part == "the model":
        weights = bytearray((model / "model.safetensors").read_bytes())
        weights[-1] ^= 1
        (model / "model.safetensors").write_bytes(weights)
    elif part == "the tokenizer":
        file = model / "tokenizer_config.json"
        file.write_text(file.read_text() + " ")
    else:
        shutil.rmtree(data)
        write_data(data, random_sets(24, seed=2), random_sets(8, seed=1))
    with pytest.raises(ExistingOutputError, match=rf"seed=0 contains a training run .*{part} was"):
        sweep(own, axes("seed=0,1,2"), "loss", tmp_path / "out")


def test_a_model_of_elsewhere_finishes_no_run(content: dict[str, Any], tmp_path: Path) -> None:
    sweep(content, axes("seed=0"), "loss", tmp_path / "other")
    (tmp_path / "out" / "seed=0").mkdir(parents=True)
    (tmp_path / "out" / "sweep.json").write_text((tmp_path / "other" / "sweep.json").read_text())
    shutil.copytree(tmp_path / "other" / "seed=0" / "model", tmp_path / "out" / "seed=0" / "model")
    with pytest.raises(ExistingOutputError, match="seed=0 is not empty and was not created by this command"):
        sweep(content, axes("seed=0"), "loss", tmp_path / "out")


@pytest.mark.parametrize("value", ["abc", "0.5", True, [], {}, float("nan"), float("inf")])
def test_damaged_metrics_are_one_line(value: object, content: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "out" / "seed=0"
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text(json.dumps({"step": 1, "kind": "eval", "loss": value}) + "\n")
    with pytest.raises(
        InputError, match=r"metrics\.jsonl: is damaged .*a loss is no number.*; remove the run"
    ):
        measured(folder, "loss")


def test_a_run_that_is_a_link_is_not_followed(content: dict[str, Any], tmp_path: Path) -> None:
    sweep(content, axes("seed=0"), "loss", tmp_path / "out")
    (tmp_path / "out" / "seed=0").rename(tmp_path / "elsewhere")
    (tmp_path / "out" / "seed=0").symlink_to(tmp_path / "elsewhere")
    sweep(content, axes("seed=1"), "loss", tmp_path / "out", on_existing="delete")
    assert (tmp_path / "elsewhere" / "model" / "model.safetensors").exists()
    assert list(models(tmp_path / "out")) == ["seed=1"]


@pytest.mark.parametrize("value", ["0", "two", "-1", "1.5"])
def test_a_number_of_runs_at_a_time_that_cannot_be(value: str) -> None:
    with pytest.raises(RecipeError, match=f"--parallel {value}: must be a number of runs"):
        devices_of(value)
    assert devices_of("3") == (None, None, None)
    assert devices_of(None) == ()


@pytest.mark.full
def test_runs_at_a_time_give_what_one_after_another_gives(
    swept: tuple[Path, list[Run]], content: dict[str, Any], tmp_path: Path
) -> None:
    found = sweep(content, axes("optimizer.learning_rate=1e-3,1e-2"), "loss", tmp_path, devices=(None, None))
    alone = {
        each.point.values["optimizer.learning_rate"]: each
        for each in swept[1]
        if each.point.values["seed"] == 0
    }
    for each in found:
        assert each.value == pytest.approx(
            alone[each.point.values["optimizer.learning_rate"]].value, rel=1e-5
        )
        assert "steps" in (tmp_path / "logs" / f"{each.folder.name}.txt").read_text()


@pytest.mark.full
def test_a_run_of_its_own_that_fails_is_named_with_what_it_said(
    content: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(
        TrainingError, match=r"seed=0: ended with exit code 1: .*nowhere.*the same command continues"
    ):
        sweep({**content, "data": "nowhere"}, axes("seed=0"), "loss", tmp_path, devices=(None,))
