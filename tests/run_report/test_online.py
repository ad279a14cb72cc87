"""Online trainings: segments one after another, with steps that run through."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.recorded import write_online, write_run

from pairkit.errors import InputError
from pairkit.run_report.draws import drawn_negatives
from pairkit.run_report.find import find
from pairkit.run_report.page import is_drawn
from pairkit.run_report.report import read
from pairkit.run_report.segments import segments


@pytest.mark.parametrize("restart", [None, "optimizer"])
def test_segments_are_one_run(tmp_path: Path, restart: str | None) -> None:
    (setting,) = find([write_online(tmp_path / "online", restart=restart)]).settings
    run = setting.first
    assert sorted(run.values("train", "loss")) == [1, 2, 3, 4]
    assert sorted(run.values("eval", "loss")) == [0, 2, 4]
    assert sorted(run.pairs) == sorted(run.samples) == [0, 2, 4]
    # At the step where a segment ends, the files are those of the end.
    assert run.pairs[2].parts[-4] == "segment-1"
    assert run.pairs[4].parts[-4] == "segment-2"
    assert [run.before(step) for step in (0, 2, 4)] == [None, 0, None]
    assert run.examples == 10
    assert (run.recipe["model"], run.recipe["online"]["restart"]) == ("m", restart)


def test_figures_of_an_online_training(tmp_path: Path) -> None:
    online, run = write_online(tmp_path / "online"), write_run(tmp_path / "run")
    assert "<svg" in segments(find([online]).settings, {"online": "#3b6fe0"}).draw()
    figures = {figure.number: figure for figure in read([online, run]).every()}
    rows = list(figures[28].tables["segments"])
    assert [(row["number"], row["step"], row["mean"]) for row in rows] == [
        ("score mean", 1, 0.25), ("score mean", 2, 0.5), ("score best", 1, 0.5), ("score best", 2, 1.0),
    ]  # fmt: skip
    for number in (1, 2, 8, 16, 19, 20, 25):
        names = {
            row["setting"] for table in figures[number].tables.values() for row in table if "setting" in row
        }
        assert {"online", "run"} <= names | ({"run", "online"} if number == 19 else set())
    assert all(is_drawn(figures[number]) for number in (1, 2, 8, 16, 20, 21, 22, 23, 25))
    assert 28 not in {figure.number for figure in read([run]).every()}


def test_draws_are_counted_within_each_segment(tmp_path: Path) -> None:
    settings = find([write_online(tmp_path / "online")]).settings
    rows = drawn_negatives(settings, {"online": "#3b6fe0"}).tables["shares"]
    # The second segment has no file from its start, because that step's is the end of the first.
    assert {(row["from step"], row["to step"]) for row in rows} == {(0, 2)}


def test_a_training_whose_segments_are_not_finished(tmp_path: Path) -> None:
    online = write_online(tmp_path / "online")
    (online / "segments.jsonl").unlink()
    (setting,) = find([online]).settings
    assert sorted(setting.first.values("train", "loss")) == [1, 2]
    assert not segments([setting], {"online": "#3b6fe0"}).tables["segments"]


def test_damaged_segments_are_named(tmp_path: Path) -> None:
    online = write_online(tmp_path / "online")
    (online / "segments.jsonl").write_text('{"segment": 1, "first": 0, "steps": 2, "entropy": "high"}\n')
    with pytest.raises(
        InputError, match=r"segments\.jsonl: is damaged \(TypeError: 'high' is not a number\)"
    ):
        segments(find([online]).settings, {"online": "#3b6fe0"})
    (online / "segments.jsonl").write_text('{"segment": 1}\n')
    with pytest.raises(InputError, match=r"segments\.jsonl: is damaged \(KeyError: 'first'\)"):
        find([online])
