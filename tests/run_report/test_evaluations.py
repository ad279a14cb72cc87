"""Figure 24: which evaluations are of which run, their values and paired differences."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.evaluations import measured, write_evaluation
from support.parsed_page import Page
from support.recorded import write_run

from pairkit.errors import InputError
from pairkit.evaluation.compare.results import compare
from pairkit.evaluation.compare.settings import read_settings
from pairkit.run_report.evaluations import find_evaluations
from pairkit.run_report.find import find
from pairkit.run_report.scores import evaluations

GOOD, BAD = [1.0] * 30 + [0.0] * 10, [1.0] * 12 + [0.0] * 28
COLORS = {"dpo": "#3b6fe0", "mcpo": "#e07b39"}


def written(folder: Path, scores: list[float] = GOOD, model: str = "another", **fields: object) -> Path:
    found = [measured("strict", scores), measured("strict/part", scores)]
    return write_evaluation(folder, found, model=model, **fields)  # type: ignore[arg-type]


def owners(folder: Path, *named: Path) -> dict[str, list[str]]:
    """The evaluations of each name, as paths below a folder."""
    paths = sorted({path.parent for path in folder.glob("**/recipe.yaml")})
    runs = [path for path in paths if path.parent.name != "evaluations"]
    return {
        each.name: [str(run.path.resolve().relative_to(folder.resolve())) for run in each.runs]
        for benchmark in find_evaluations(find(runs).settings, named)
        for each in benchmark.settings
    }


@pytest.mark.parametrize(
    ("place", "model"),
    [
        ("train/dpo/eval", "x"),  # in the run
        ("train/dpo/eval/ifeval", "x"),
        ("train/ifeval/dpo", "x"),  # a directory per benchmark, in it one of the run's name
        ("train/results", "dpo/model"),  # of a model that is in the run
        ("eval/gsm8k-dpo", "dpo/model"),  # the usual places of training and evaluation
        ("eval/gsm8k/dpo", "x"),
        ("eval/after", "train/dpo"),
    ],
)
def test_evaluations_beside_a_run_are_found(tmp_path: Path, place: str, model: str) -> None:
    for name in ("dpo", "mcpo"):
        write_run(tmp_path / "train" / name)
    written(tmp_path / place, model=model)
    written(tmp_path / "eval" / "others", model="others")
    (tmp_path / "eval" / "sweep").mkdir()
    (tmp_path / "eval" / "sweep" / "results.json").write_text("{}")  # another command's file of this name
    assert owners(tmp_path) == {"dpo": [place]}


def test_evaluations_that_are_named_are_shown_whatever_they_are_of(tmp_path: Path) -> None:
    for name in ("dpo", "mcpo"):
        write_run(tmp_path / "train" / name)
    for place, model in (("e/a", "start"), ("e/b/c", "dpo/model"), ("e/d", "start"), ("e/mcpo", "s/mcpo")):
        written(tmp_path / place, model=model)
    folder = str(tmp_path / "e" / "d")
    found = owners(tmp_path, tmp_path / "e")
    assert found == {"dpo": ["e/b/c"], "mcpo": ["e/mcpo"], "start": ["e/a"], folder: ["e/d"]}


def test_a_damaged_evaluation_that_nobody_named_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "train" / "dpo")
    written(tmp_path / "eval" / "before", model="start")
    written(tmp_path / "eval" / "gsm8k" / "dpo")
    (tmp_path / "eval" / "before" / "results.json").write_text("{")
    assert owners(tmp_path) == {"dpo": ["eval/gsm8k/dpo"]}
    said = " ".join(capsys.readouterr().err.split())
    assert "before/results.json: is damaged" in said
    assert "evaluate again; it is left out" in said
    with pytest.raises(InputError, match=r"before/results\.json: is damaged"):
        owners(tmp_path, tmp_path / "eval" / "before")


def test_an_evaluation_that_is_still_written_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "train" / "dpo")
    written(tmp_path / "eval" / "gsm8k" / "dpo")
    half = written(tmp_path / "eval" / "ifeval" / "dpo") / "scores.parquet"
    half.write_bytes(half.read_bytes()[:100])
    assert owners(tmp_path) == {"dpo": ["eval/gsm8k/dpo"]}
    assert "it is left out" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(InputError, match=r"scores\.parquet"):
        owners(tmp_path, tmp_path / "eval" / "ifeval")


def test_evaluations_of_seeds_are_known_by_their_setting(tmp_path: Path) -> None:
    for name in ("dpo", "mcpo"):
        for seed in (0, 1):
            write_run(tmp_path / "train" / name / f"seed-{seed}", seed=seed)
            written(tmp_path / "eval" / name / f"seed-{seed}", model="seed-0/model")
    assert owners(tmp_path, tmp_path / "eval") == {
        "dpo": ["eval/dpo/seed-0", "eval/dpo/seed-1"], "mcpo": ["eval/mcpo/seed-0", "eval/mcpo/seed-1"],
    }  # fmt: skip


def test_values_and_differences_are_those_of_eval_compare(tmp_path: Path) -> None:
    settings = find([write_run(tmp_path / name) for name in ("dpo", "mcpo")]).settings
    places = [
        written(tmp_path / name / "eval", scores, name) for name, scores in (("dpo", BAD), ("mcpo", GOOD))
    ]
    figure = evaluations(settings, COLORS, find_evaluations(settings, ()))
    (metric, _) = compare(read_settings(places))["metrics"]
    values = {row["setting"]: row for row in figure.tables["values"]}
    assert list(values) == ["dpo", "mcpo"]  # one metric: those of categories are left to pairkit eval compare
    for entry in metric["settings"]:
        row = values[entry["name"]]
        assert [row[key] for key in ("value", "low", "high", "prompts")] == [
            entry[key] for key in ("value", "low", "high", "n")
        ]
    (difference,) = figure.tables["differences"]
    (pair,) = metric["pairs"]
    assert [difference[key] for key in ("value", "low", "high", "p_holm")] == [
        pair[key] for key in ("value", "low", "high", "p_holm")
    ]
    assert difference["conclusion"] == "mcpo is higher"
    assert difference["conclusion"] in "".join(Page(f"<p>{figure.draw()}</p>").text)


def test_evaluations_that_were_not_made_alike_are_not_compared(tmp_path: Path) -> None:
    settings = find([write_run(tmp_path / name) for name in ("dpo", "mcpo")]).settings
    for name in ("dpo", "mcpo"):
        written(tmp_path / name / "eval", model=name, judge={"model": f"judge of {name}"})
    figure = evaluations(settings, COLORS, find_evaluations(settings, ()))
    assert len(figure.tables["values"]) == 2
    assert not figure.tables["differences"]
    assert "Differences are not computed, because the runs differ in judge" in figure.draw()


def test_without_evaluations_the_figure_says_how_to_get_them(tmp_path: Path) -> None:
    settings = find([write_run(tmp_path / "dpo")]).settings
    figure = evaluations(settings, COLORS, find_evaluations(settings, ()))
    assert figure.missing["dpo"].startswith("no evaluation is found in the runs' directories or next to them")
    with pytest.raises(
        InputError, match="dpo: has no evaluation: give a directory that `pairkit eval` wrote"
    ):
        find_evaluations(settings, [tmp_path / "dpo"])
    with pytest.raises(InputError, match="absent: no such directory"):
        find_evaluations(settings, [tmp_path / "absent"])


def test_the_curve_of_a_run_has_its_intervals(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "dpo" / f"seed-{seed}", seed=seed) for seed in (0, 1)]
    for run, shift in zip(runs, (0.0, 0.2), strict=True):
        lines = [
            {"step": step, "kind": "generate", "accuracy": 0.1 * step + shift, "low": 0.0, "high": 0.9}
            for step in (0, 2)
        ]
        with (run / "metrics.jsonl").open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
    alone = evaluations(find(runs[:1]).settings, {"dpo": COLORS["dpo"]}, [])
    assert [
        (row["step"], row["accuracy"], row["low"], row["high"]) for row in alone.tables["while training"]
    ] == [(0, 0.0, 0.0, 0.9), (2, 0.2, 0.0, 0.9)]
    both = evaluations(find(runs).settings, {"dpo": COLORS["dpo"]}, [])
    last = list(both.tables["while training"])[-1]
    assert (last["accuracy"], last["high"]) == (pytest.approx(0.3), pytest.approx(0.3 + 0.2 / 2**0.5))
    assert not both.missing
