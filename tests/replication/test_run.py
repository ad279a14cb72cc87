"""Replications from end to end on a small task: resumed, shared, refused, and the page that they leave."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.replications import SMALL, TASK, TUNED, arm, replication

from pairkit.errors import ExistingOutputError, InputError, Interrupted, RecipeError
from pairkit.replication import bench, page, run
from pairkit.replication.claims import table
from pairkit.replication.design import TUNING_SEEDS, Replication
from pairkit.replication.measured import Measured
from pairkit.replication.run import planned, replicate, seeds_of
from pairkit.training.output.entries import read_metrics
from pairkit.version import __version__


@pytest.fixture(autouse=True)
def rows(monkeypatch: pytest.MonkeyPatch) -> dict[str, Replication]:
    """The page shows the replications of these tests."""
    known = {"T1": replication(), "T2": replication("T2", {"dpo": arm(), "dpop": arm("dpop")})}
    for module in (table, page):
        monkeypatch.setattr(module, "REPLICATIONS", known)
    return known


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """T1 at two seeds."""
    out = tmp_path_factory.mktemp("replications") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "REPLICATIONS", {"T1": replication()})
        outcome = replicate([replication()], out, size=SMALL)
    assert not outcome.unfinished
    return out


def trained(out: Path) -> dict[str, int]:
    """When each run's model was written."""
    return {
        str(path): path.stat().st_mtime_ns for path in out.glob("T/seed-*/runs/*/model/model.safetensors")
    }


def values(result: dict[str, Any], name: str, quantity: str = "chosen_ratio") -> list[list[float]]:
    """A value per number of steps and seed of an arm."""
    (arm,) = [arm for arm in result["arms"] if arm["name"] == name]
    found: list[list[float]] = arm["values"][quantity]
    return found


def result_of(out: Path, name: str = "T1") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "replication" / f"{name}.json").read_text())
    return found


def test_a_result_holds_what_was_measured(finished: Path) -> None:
    result = result_of(finished)
    assert result["pairkit"] == __version__
    assert (result["seeds"], result["size"]) == ([0, 1], "small")
    gain, level = result["statistics"]
    by_hand = [
        b - a for a, b in zip(*(values(result, name)[-1] for name in ("dpo", "minor_dpo")), strict=True)
    ]
    assert gain["seeds"] == pytest.approx(by_hand, abs=1e-4)
    assert gain["mean"] == pytest.approx(sum(by_hand) / 2, abs=1e-4)
    assert gain["low"] <= gain["mean"] <= gain["high"]
    assert (gain["decides"], level["decides"]) == (True, False)
    assert result["verdict"] == gain["verdict"]
    assert [(arm["name"], arm["steps"]) for arm in result["arms"]] == [
        ("start", [0]), ("dpo", [2]), ("minor_dpo", [2])
    ]  # fmt: skip
    assert values(result, "start") == [[0.0, 0.0]]
    assert len(trained(finished)) == 4


def test_both_arms_of_a_seed_share_start_sets_and_budget(finished: Path) -> None:
    for seed in (0, 1):
        place = finished / "T" / f"seed-{seed}"
        recipes = [
            json.loads((run / "run.json").read_text())["recipe"] for run in (place / "runs").glob("*-*")
        ]
        assert {recipe.pop("loss")["name"] for recipe in recipes} == {"dpo", "minor_dpo"}
        assert recipes[0] == recipes[1]
        assert recipes[0]["model"] == str(place / "sft" / "model")
        assert recipes[0]["data"] == str(place / "sets" / "pairs")
        assert recipes[0]["seed"] == seed
        for folder in (place / "runs").glob("*-*"):
            assert len(read_metrics(folder, "train")) == 2
            assert not (folder / "checkpoints").exists()


def test_the_page_shows_claim_verdict_and_figure(finished: Path) -> None:
    text = (finished / "replication.md").read_text()
    assert f"**{result_of(finished)['verdict']}**" in text
    assert "![T1](replication/T1.svg)" in text
    assert "| minor_dpo |" in text
    assert "At full size: Everything. Nothing." in text
    figure = (finished / "replication" / "T1.svg").read_text()
    assert figure.startswith("<?xml")
    assert "minor_dpo" in figure
    assert "gain" in figure


def test_nothing_is_made_again(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, result = trained(finished), result_of(finished)
    monkeypatch.setattr(bench, "train", lambda *_: pytest.fail("trained again"))
    replicate([replication()], finished, size=SMALL)
    assert trained(finished) == before
    assert result_of(finished) == result
    (work,) = planned([replication()], finished, size=SMALL)
    assert (work.runs, work.done, work.minutes) == (4, 4, 0)


def test_a_grid_is_planned_on_other_seeds(tmp_path: Path) -> None:
    assert planned([TUNED], tmp_path, [0], SMALL)[0].runs == 6  # 2 settings x 2 seeds + 1 seed, and 1 seed


def test_an_arm_of_two_replications_is_planned_once(rows: dict[str, Replication], tmp_path: Path) -> None:
    assert [work.runs for work in planned(list(rows.values()), tmp_path, [0], SMALL)] == [2, 1]


@pytest.mark.full
def test_an_arm_of_two_replications_is_trained_once(rows: dict[str, Replication], tmp_path: Path) -> None:
    both = list(rows.values())
    replicate(both, tmp_path, seeds=[0], size=SMALL)
    runs = [path.name for path in (tmp_path / "T" / "seed-0" / "runs").glob("*-*")]
    assert sorted(name.rsplit("-", 1)[0] for name in runs) == ["dpo", "dpop", "minor_dpo"]
    assert values(result_of(tmp_path, "T2"), "dpo") == values(result_of(tmp_path), "dpo")


@pytest.mark.full
def test_a_stop_changes_no_result(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in the third run of four, and continued: the numbers are those of a run that never stopped."""
    calls, real = [], bench.train

    def stopping(*arguments: Any) -> Path:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(bench, "train", stopping)
        with pytest.raises(Interrupted, match="the same command continues"):
            replicate([replication()], out, size=SMALL)
    before = trained(out)
    assert len(before) == 2
    replicate([replication()], out, size=SMALL)
    assert before.items() <= trained(out).items()
    ours, theirs = result_of(out), result_of(finished)
    for each in (ours, theirs):
        each.pop("minutes")
    assert ours == theirs


def test_no_run_begins_after_the_limit(tmp_path: Path) -> None:
    outcome = replicate([replication()], tmp_path / "out", size=SMALL, minutes=0)
    assert (outcome.results, outcome.unfinished) == ([], ["T1"])
    assert not trained(tmp_path / "out")
    assert "not run" in (tmp_path / "out" / "replication.md").read_text()


@pytest.mark.full
def test_what_the_limit_left_is_run_with_another_limit(tmp_path: Path) -> None:
    for minutes, unfinished in ((0, ["T1"]), (60, [])):
        outcome = replicate([replication()], tmp_path / "out", size=SMALL, minutes=minutes)
        assert outcome.unfinished == unfinished


def test_runs_of_another_design_are_refused_by_what_changed(finished: Path) -> None:
    changed = replace(replication(), arms={"dpo": arm(steps=3), "minor_dpo": arm("minor_dpo")})
    with pytest.raises(ExistingOutputError) as caught:
        replicate([changed], finished, size=SMALL)
    assert (
        f"{finished}/designs/T1 contains runs of T1 with other settings: arms.dpo.recipe.max_steps 2 -> 3. "
        "Choose another --out, or use --on-existing delete to start over"
    ) == str(caught.value)


def test_a_design_is_deleted_by_command(rows: dict[str, Replication], tmp_path: Path) -> None:
    changed = replace(replication(), arms={"dpo": arm(steps=3), "minor_dpo": arm("minor_dpo")})
    replicate([replication()], tmp_path, size=SMALL, minutes=0)
    of_it = [tmp_path / "replication" / "T1.json", tmp_path / "designs" / "T1" / "dpo.json"]
    for path in of_it:
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}")
    with pytest.raises(ExistingOutputError, match=r"arms.dpo.recipe.max_steps 2 -> 3"):
        replicate([changed], tmp_path, size=SMALL, minutes=0)
    rows["T1"] = changed
    replicate([changed], tmp_path, size=SMALL, minutes=0, on_existing="delete")
    assert not any(path.exists() for path in of_it)
    replicate([changed], tmp_path, size=SMALL, minutes=0)


@pytest.mark.full
def test_a_deleted_design_keeps_the_runs_that_the_new_one_has_too(
    rows: dict[str, Replication], tmp_path: Path
) -> None:
    replicate([replication()], tmp_path, seeds=[0], size=SMALL)
    before = trained(tmp_path)
    changed = replace(replication(), arms={"dpo": arm(steps=3), "minor_dpo": arm("minor_dpo")})
    rows["T1"] = changed
    replicate([changed], tmp_path, seeds=[0], size=SMALL, on_existing="delete")
    assert before.items() < trained(tmp_path).items()
    assert result_of(tmp_path)["design"] == changed.digest(SMALL)


def test_a_result_of_another_design_is_not_shown(finished: Path, rows: dict[str, Replication]) -> None:
    assert page.read_results(finished, SMALL).keys() == {"T1"}
    rows["T1"] = replace(replication(), arms={"dpo": arm(steps=3), "minor_dpo": arm("minor_dpo")})
    assert not page.read_results(finished, SMALL)


def test_settings_are_chosen_on_other_seeds_and_problems(tuned: Path) -> None:
    record = json.loads((tuned / "designs" / "T1" / "dpo.json").read_text())
    means = {setting: sum(each) / len(each) for setting, each in record["tried"].items()}
    assert len(means) == 2
    assert all(len(each) == 2 for each in record["tried"].values())
    assert means[record["chosen"]] == max(means.values())
    chosen = {arm["name"]: arm["settings"] for arm in result_of(tuned)["arms"]}
    assert chosen == {"start": "", "dpo": record["chosen"], "minor_dpo": ""}
    for seed in (0, *TUNING_SEEDS):
        splits = {
            path.stem.rsplit("-", 1)[1] for path in (tuned / "T" / f"seed-{seed}" / "measured").iterdir()
        }
        assert splits == ({"test"} if seed == 0 else {"tuning"})


def test_models_are_measured_at_their_marks(tuned: Path) -> None:
    result = result_of(tuned)
    assert [arm["steps"] for arm in result["arms"]] == [[0], [1, 2], [1, 2]]
    assert len({value for (value,) in values(result, "dpo")}) == 2
    assert not list((tuned / "T" / "seed-0" / "marks").glob("*"))


@pytest.mark.parametrize("check", ["nowhere:right", "pairkit.sources.split:absent"])
def test_a_missing_verifier_is_found_before_anything_is_made(check: str, tmp_path: Path) -> None:
    task = replace(TASK, verifier={"check": check})
    with pytest.raises(RecipeError, match=f"verifier check '{check}'"):
        replicate([replication(task=task)], tmp_path / "out", size=SMALL)
    assert not (tmp_path / "out").exists()


def test_a_directory_of_others_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ExistingOutputError, match="was not created by this command"):
        replicate([replication()], tmp_path, size=SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_damaged_result_is_named(finished: Path, tmp_path: Path) -> None:
    result = result_of(finished)
    del result["arms"][0]["values"]
    (tmp_path / "replication").mkdir()
    (tmp_path / "replication" / "T1.json").write_text(json.dumps(result))
    with pytest.raises(InputError, match=r"T1.json: is damaged .*`pairkit replicate` writes it again"):
        page.read_results(tmp_path, SMALL)


def test_damaged_numbers_are_named(finished: Path) -> None:
    file = next((finished / "T" / "seed-0" / "measured").glob("dpo-*.npz"))
    whole = file.read_bytes()
    file.write_bytes(whole[:100])
    with pytest.raises(InputError, match=r"is damaged .*remove it, and the model is measured again"):
        replicate([replication()], finished, size=SMALL)
    file.write_bytes(whole)


def _huge() -> bytes:
    """The header of an array that would take an exabyte."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f8", "fortran_order": False, "shape": (2**57,)})
    return buffer.getvalue()


@pytest.mark.parametrize("how", ["missing", "short", "text", "square", "huge"])
def test_numbers_of_another_form_are_named(how: str, finished: Path, tmp_path: Path) -> None:
    whole = next((finished / "T" / "seed-0" / "measured").glob("dpo-*.npz"))
    with np.load(whole) as archive:
        values = dict(archive)
    file, name = tmp_path / "dpo-1-test.npz", "problem_right"
    if how == "missing":
        del values[name]
    elif how == "short":
        values[name] = values[name][:-1]
    elif how == "text":
        values[name] = values[name].astype(str)
    elif how == "square":
        values[name] = np.stack([values[name]] * 2)
    np.savez_compressed(file, **values)
    if how == "huge":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(f"{name}.npy", _huge())
    with pytest.raises(InputError, match=r"is damaged .*remove it, and the model is measured again"):
        Measured.load(file)
    assert Measured.load(whole).problems


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0,1,0", "seed 0 is there twice"),
        ("0,101", "settings are chosen with seed 101"),
        ("11", "must be 1 to 10 seeds"),
        ("0", "must be 1 to 10 seeds"),
        ("-1", "must be a number of seeds"),
        ("1,", "must be a number of seeds"),
    ],
)
def test_seeds_that_cannot_be_used(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        seeds_of(text)


def test_results_are_published_with_their_page(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "FULL", SMALL)
    replicate([replication()], finished, size=SMALL, page=tmp_path / "docs")
    names = sorted(
        path.relative_to(tmp_path / "docs").as_posix() for path in (tmp_path / "docs").rglob("*.*")
    )
    assert names == ["replication.md", "replication/T1.json", "replication/T1.svg"]
    assert (tmp_path / "docs" / "replication.md").read_text() == (finished / "replication.md").read_text()
