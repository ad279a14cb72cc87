"""The quickstart: a small one from end to end; and, marked slow, one of full size with the gain it shows."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow.dataset as ds
import pytest
import torch
import yaml

from pairkit.errors import ExistingOutputError, Interrupted
from pairkit.quickstart import run
from pairkit.quickstart.run import quickstart
from pairkit.quickstart.settings import Settings
from pairkit.sources import arithmetic
from pairkit.training.output.entries import read_metrics
from pairkit.training.recipe import TrainRecipe
from pairkit.training.run import train

pytestmark = pytest.mark.usefixtures("plain_plots")
SMALL = Settings(seed=0, sft_steps=30, steps=2, prompts=100, samples=1)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[Path, int]]:
    """A quickstart interrupted before MC-PO, and when each of its files was written."""
    out = tmp_path_factory.mktemp("quickstart") / "out"
    threads = torch.get_num_threads()

    def stop_before_mcpo(recipe: TrainRecipe, folder: Path) -> Path:
        if folder.name == "mcpo":
            raise Interrupted("stopped")
        return train(recipe, folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "train", stop_before_mcpo)
        with pytest.raises(Interrupted):
            quickstart(out, SMALL)
    assert torch.get_num_threads() == threads
    return out, written_at(out)


@pytest.fixture(scope="module")
def out(stopped: tuple[Path, dict[Path, int]]) -> Path:
    """The same quickstart, resumed and finished."""
    quickstart(stopped[0], SMALL)
    return stopped[0]


def written_at(out: Path) -> dict[Path, int]:
    parts = ("sft", "sets", "dpo", "mcpo")
    return {
        path: path.stat().st_mtime_ns for part in parts for path in (out / part).rglob("*") if path.is_file()
    }


def prompts(folder: Path) -> set[str]:
    table = ds.dataset(sorted((folder / "data").glob("*.parquet"))).to_table(["prompt"])
    return {row["prompt"][-1]["content"] for row in table.to_pylist()}


def test_results_compare_three_models_on_the_same_problems(out: Path) -> None:
    results = json.loads((out / "results.json").read_text())
    assert results["problems"] == 450
    assert set(results["accuracy"]) == {"SFT", "DPO", "MC-PO"}
    for one in results["accuracy"].values():
        assert 0 <= one["low"] <= one["mean"] <= one["high"] <= 1
    for name, one in results["differences"].items():
        first, second = name.split(" - ")
        means = [results["accuracy"][side]["mean"] for side in (first, second)]
        assert one["mean"] == pytest.approx(means[0] - means[1])
        assert one["includes_zero"] == (one["low"] <= 0 <= one["high"])


def test_both_runs_have_the_same_start_and_budget(out: Path) -> None:
    recipes = {name: yaml.safe_load((out / name / "recipe.yaml").read_text()) for name in ("dpo", "mcpo")}
    assert recipes["dpo"]["negatives"] == {"sampling": "random"}
    assert recipes["mcpo"]["loss"]["sampling"] == "mc"
    for recipe in recipes.values():
        assert recipe["model"] == str(out / "sft" / "model")
        recipe.pop("loss"), recipe.pop("negatives")
    assert recipes["dpo"] == recipes["mcpo"]
    steps = [read_metrics(out / name, "train") for name in ("dpo", "mcpo")]
    assert [len(entries) for entries in steps] == [SMALL.steps] * 2


def test_training_tuning_and_test_problems_are_disjoint(out: Path) -> None:
    """No sum of the report, nor its mirror image, was trained on or used for tuning."""
    parts = {split: prompts_of(split) for split in ("tuning", "test")}
    trained = prompts(out / "problems") | prompts(out / "sets")
    assert len(prompts(out / "problems")) == SMALL.prompts
    mirrored = {f"{b}+{a}=" for a, b in (text.rstrip("=").split("+") for text in parts["test"])}
    assert mirrored == parts["test"]
    assert not parts["test"] & (trained | parts["tuning"])
    assert not parts["tuning"] & trained


def prompts_of(split: arithmetic.Split) -> set[str]:
    return {row[-1]["content"] for row in arithmetic.sets(split)["prompt"].to_pylist()}


def test_sets_are_those_of_the_recipe(out: Path) -> None:
    counts = json.loads((out / "sets" / "pairkit.json").read_text())["counts"]
    assert counts["generate"]["completions"] == 6 * SMALL.prompts
    assert counts["mine"]["noise_token_swap"] > 0
    rows = ds.dataset(sorted((out / "sets" / "data").glob("*.parquet"))).to_table().to_pylist()
    for row in rows:
        first, *rest = row["completions"]
        assert first["text"] == json.loads(row["metadata"])["answer"]
        assert first["score"] == 1
        assert all(one["score"] in (0, None) for one in rest)
        assert sum(one["origin"] == "noise" for one in rest) <= 1


def test_the_report_is_self_contained_and_shows_the_runs(out: Path) -> None:
    page = (out / "report.html").read_text()
    for word in (
        "Accuracy on held-out problems",
        "Reward margin",
        "Log-prob",
        "Negatives by origin",
        "noise",
    ):
        assert word in page
    assert "<script" not in page
    for address in ("src=", "url(h", "@import", 'href="http'):
        assert address not in page
    for mean in json.loads((out / "results.json").read_text())["accuracy"].values():
        assert f"{100 * mean['mean']:.1f} %" in page


def test_a_resumed_quickstart_keeps_what_is_done(stopped: tuple[Path, dict[Path, int]], out: Path) -> None:
    before = stopped[1]
    assert out / "dpo" / "model" / "model.safetensors" in before
    assert before.items() <= written_at(out).items()


@pytest.mark.full
def test_a_finished_quickstart_makes_nothing_again(out: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = written_at(out)
    page = (out / "report.html").read_text()
    capfd.readouterr()
    quickstart(out, SMALL)
    errors = capfd.readouterr().err
    assert written_at(out) == before
    assert (out / "report.html").read_text() == page
    for line in ("training:", "Loading weights", "Writing model shards"):
        assert line not in errors


@pytest.mark.full
def test_delete_starts_over_and_ends_as_a_resumed_run(out: Path, tmp_path: Path) -> None:
    """The results and models of a quickstart in one go are those of one that was stopped, byte by byte."""
    copy = Path(shutil.copytree(out, tmp_path / "out"))
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*") if path.is_file()}
    (copy / "notes.txt").write_text("mine")
    quickstart(copy, SMALL, on_existing="delete")
    after = {path: path.stat().st_mtime_ns for path in copy.rglob("*") if path.is_file()}
    assert not before.items() & after.items()
    assert (copy / "notes.txt").read_text() == "mine"
    for name in ("results.json", "dpo/model/model.safetensors", "mcpo/model/model.safetensors"):
        assert (copy / name).read_bytes() == (out / name).read_bytes()


def test_a_quickstart_of_other_settings_and_other_directories_are_refused(out: Path, tmp_path: Path) -> None:
    with pytest.raises(ExistingOutputError, match="other settings"):
        quickstart(out, replace(SMALL, seed=1))
    with pytest.raises(ExistingOutputError, match="resume to continue it"):
        quickstart(out, SMALL, on_existing="raise")
    (tmp_path / "notes.txt").write_text("mine")
    for on_existing in ("resume", "delete"):
        with pytest.raises(ExistingOutputError, match="not empty"):
            quickstart(tmp_path, SMALL, on_existing=on_existing)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_preference_training_gains_and_mcpo_gains_most(tmp_path: Path) -> None:
    measured = quickstart(tmp_path / "out", Settings(seed=0))
    assert 0.35 <= measured.accuracy["SFT"].mean <= 0.65
    for pair in (("DPO", "SFT"), ("MC-PO", "SFT"), ("MC-PO", "DPO")):
        assert measured.differences[pair].low > 0, pair
