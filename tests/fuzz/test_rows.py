"""Files of every format and layout, rows and bytes changed: built with counts that add up, or refused."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fuzzing.cases import SLOW, fuzz
from support.fuzzing.commands import command, empty, untouched
from support.fuzzing.counts import add_up
from support.fuzzing.row_files import FORMATS, written
from support.fuzzing.values import mutated, spoiled

from pairkit.sources.layouts.table import LAYOUTS

EXAMPLES = {
    name: [json.loads(line) for line in layout.example.splitlines()] for name, layout in LAYOUTS.items()
}
FORMAT = st.sampled_from(FORMATS)
# Rows of a table: a build of many costs little more than one of few, and each row is a case.
MOST = 24


@st.composite
def rows(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw rows of one layout, and sometimes of a second one; about half of them are changed."""
    names = draw(st.lists(st.sampled_from(sorted(EXAMPLES)), min_size=1, max_size=2))
    good = [row for name in names for row in EXAMPLES[name]]
    most = draw(st.sampled_from([1, 5, MOST, MOST]))
    return [
        draw(mutated(row)) if draw(st.booleans()) else row
        for row in draw(st.lists(st.sampled_from(good), min_size=most // 2 or 1, max_size=most))
    ]


def build(folder: Path, name: str, content: bytes, unit: int) -> tuple[int, Path]:
    """Build from a file with this content; return the exit code and the dataset."""
    case = empty(folder / "case")
    (case / name).write_bytes(content)
    words = [
        "build",
        "--source",
        "files",
        "--path",
        str(case / name),
        "--out",
        str(case / "out"),
        "--workers",
        "1",
    ]
    with untouched(folder, case / "out"):
        ended = command([*words, f"unit_rows={unit}", "test_fraction=0.3"])
    if ended.code:
        assert not (case / "out").exists(), "a refused build leaves nothing"
    return ended.code, case / "out"


@pytest.mark.parametrize("cases", [4, SLOW])
def test_rows_of_any_content(cases: int | None, tmp_path: Path) -> None:
    seen: Counter[str] = Counter()

    @given(rows(), FORMAT, st.sampled_from([1, 2, 3, 8]))
    def check(table: list[dict[str, Any]], suffix: str, unit: int) -> None:
        code, out = build(tmp_path, f"rows{suffix}", written(table, suffix), max(unit, len(table) // 4))
        seen["refused" if code else "built"] += 1
        seen["cases"] += len(table)
        if code == 0:
            counts = add_up(out, merged=True)["counts"]
            seen["rows"] += counts["source"]["rows"]
            seen["rows in quarantine"] += counts["source"]["rows_quarantined"]
            # An empty line of a CSV file is no row, and a tree of messages is several.
            trees = any("message_tree_id" in row or "parent_id" in row for row in table)
            assert counts["source"]["rows"] == len(table) or trees or suffix.startswith((".csv", ".tsv"))

    fuzz(check, cases, seen, ends={"built", "refused"}, at_once=10)


@pytest.mark.parametrize("cases", [4, SLOW])
def test_files_with_any_bytes(cases: int | None, tmp_path: Path) -> None:
    seen: Counter[str] = Counter()
    contents = st.tuples(st.sampled_from(sorted(EXAMPLES)), FORMAT).flatmap(
        lambda choice: st.tuples(st.just(choice[1]), spoiled(written(EXAMPLES[choice[0]] * 2, choice[1])))
    )

    @given(contents, st.integers(1, 4))
    def check(file: tuple[str, bytes], unit: int) -> None:
        code, out = build(tmp_path, f"rows{file[0]}", file[1], unit)
        seen["refused" if code else "built"] += 1
        if code == 0:
            counts = add_up(out, merged=True)["counts"]
            seen["rows"] += counts["source"]["rows"]
            seen["rows in quarantine"] += counts["source"]["rows_quarantined"]

    fuzz(check, cases, seen, ends={"built", "refused"})
