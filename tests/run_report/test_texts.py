"""Figure 25: samples to the same prompts side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.parsed_page import Page
from support.recorded import samples_of, write_run

from pairkit.progress import shown
from pairkit.run_report.find import Setting, find
from pairkit.run_report.texts import COUNT, samples_side_by_side

Colors = dict[str, str]


def test_models_are_shown_on_the_same_prompts(
    recorded: dict[str, Path], settings: Sequence[Setting], colors: Colors
) -> None:
    figure = samples_side_by_side(settings, colors)
    assert figure.missing == {"plain": "no samples are recorded: train with --sample-every epoch"}
    rows = figure.tables["samples"]
    stored = {(row["set_id"], row["sample"]): row for row in samples_of(recorded["mcpo"], 4)}
    mine = [row for row in rows if row["setting"] == "mcpo"]
    assert [(row["set_id"], row["sample"]) for row in mine] == sorted(stored, key=lambda key: key[1])[:COUNT]
    for row in mine:
        sample = stored[row["set_id"], row["sample"]]
        assert [row[key] for key in ("length", "score")] == [sample[key] for key in ("length", "score")]
    written = "".join(Page(f"<p>{figure.draw()}</p>").text)
    for row in stored.values():
        assert shown(row["text"]) in written
        assert shown(row["prompt"][0]["content"]) in written


def test_a_single_run_is_shown_next_to_its_start(tmp_path: Path) -> None:
    settings = find([write_run(tmp_path / "run", text="one two three four")]).settings
    figure = samples_side_by_side(settings, {"run": "#3b6fe0"})
    rows = list(figure.tables["samples"])
    assert [row["step"] for row in rows] == [0, 2] * 5
    assert 0.5 < rows[1]["in common with the first"] < 1
    assert rows[0]["in common with the first"] == 1
    for part in ("before training", "step 2", "<ins>2</ins>", "<del>0</del>"):
        assert part in figure.draw()


def test_samples_of_other_prompts_are_not_shown(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name) for name in ("a", "b")]
    for path in (runs[1] / "samples").iterdir():
        table = pq.read_table(path)
        names = [f"other-{name}" for name in table["set_id"].to_pylist()]
        pq.write_table(table.set_column(0, "set_id", [names]), path)
    figure = samples_side_by_side(find(runs).settings, {"a": "#3b6fe0", "b": "#e07b39"})
    assert {row["setting"] for row in figure.tables["samples"]} == {"a"}
    assert figure.missing == {
        "b": "its samples are of other prompts than those of the settings before it: compare runs with the "
        "same held-out sets"
    }


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "a\u202eb\x1b[31m", "</div><ins>"])
def test_texts_of_models_are_text(tmp_path: Path, text: str) -> None:
    settings = find([write_run(tmp_path / "run", text=text)]).settings
    drawing = samples_side_by_side(settings, {"run": "#3b6fe0"}).draw()
    assert text not in drawing
    assert drawing.count("<ins>") == drawing.count("</ins>") == 5


def test_a_set_of_other_data_is_told_by_its_prompt(tmp_path: Path) -> None:
    """Sets of two datasets may have the same ids: a text must not stand below another text's prompt."""
    runs = [write_run(tmp_path / name, text=name) for name in ("a", "b")]
    figure = samples_side_by_side(find(runs).settings, {"a": "#3b6fe0", "b": "#e07b39"})
    assert {row["setting"] for row in figure.tables["samples"]} == {"a"}
    assert list(figure.missing) == ["b"]


def test_a_setting_has_to_share_prompts_with_all_before_it(tmp_path: Path) -> None:
    """Each of the others shares prompts with the first one, but not with one another."""
    runs = [write_run(tmp_path / name) for name in ("a", "b", "c")]
    for run, rows in ((runs[1], slice(0, 2)), (runs[2], slice(2, 5))):
        for path in (run / "samples").iterdir():
            table = pq.read_table(path)
            pq.write_table(table.slice(rows.start, rows.stop - rows.start), path)
    figure = samples_side_by_side(find(runs).settings, dict.fromkeys("abc", "#3b6fe0"))
    assert [row["setting"] for row in figure.tables["samples"]] == ["a", "b"] * 2
    assert list(figure.missing) == ["c"]
