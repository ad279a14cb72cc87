"""A survey of a file: every column of every row, its types, and how many rows have a value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from support.row_files import WRITERS, write_all, write_lines

from pairkit.readers.survey import survey

TEXT, INTEGER, NUMBER, TRUTH = pa.string(), pa.int64(), pa.float64(), pa.bool_()


@pytest.mark.parametrize("before", [0, 1, 999, 1000, 1001, 5000])
def test_a_column_that_begins_after_any_number_of_rows_is_found(tmp_path: Path, before: int) -> None:
    rows: list[dict[str, Any]] = [{"prompt": str(row)} for row in range(before)]
    write_lines(tmp_path / "rows.jsonl", [*rows, {"prompt": "p", "score": 2.5}, {"score": None}])
    found = survey(tmp_path / "rows.jsonl")
    assert found.rows == before + 2
    assert found.columns == {"prompt": (TEXT,), "score": (NUMBER,)}
    assert found.non_null == {"prompt": before + 1, "score": 1}


def test_types_that_differ_by_row_are_all_kept(tmp_path: Path) -> None:
    message = {"role": "user", "content": "c"}
    rows = [
        {"prompt": "a", "n": 1, "deep": {"x": [{"y": 1}]}},
        {"prompt": [message], "n": 2.5, "deep": {"x": [{"y": "z"}]}},
        {"prompt": [message | {"name": "b"}], "n": None, "deep": {"x": [], "w": True}},
    ]
    write_lines(tmp_path / "rows.jsonl", rows)
    found = survey(tmp_path / "rows.jsonl")
    parts = {"role": TEXT, "content": TEXT, "name": TEXT}
    assert found.columns["prompt"] == (TEXT, pa.list_(pa.struct(parts)))
    assert found.columns["n"] == (NUMBER,)
    assert found.types("prompt[].content") == (TEXT,)
    assert found.types("prompt[0].name") == (TEXT,)
    assert set(found.types("deep.x[].y")) == {INTEGER, TEXT}
    assert found.types("deep.w") == (TRUTH,)
    assert found.types("deep.nothing") == found.types("nothing") == found.types("prompts") == ()
    assert pa.types.is_union(found.schema.field("prompt").type)


def test_a_name_with_a_dot_is_a_column_before_it_is_a_path(tmp_path: Path) -> None:
    write_lines(tmp_path / "rows.jsonl", [{"a.b": "t", "a": {"b": 1, "c": 2}}])
    found = survey(tmp_path / "rows.jsonl")
    assert (found.types("a.b"), found.types("a.c")) == ((TEXT,), (INTEGER,))


def test_every_format_has_the_same_columns_and_counts(tmp_path: Path) -> None:
    rows = [{"prompt": f"p{row}", "note": None if row % 3 else "n"} for row in range(10)]
    paths = list(write_all(tmp_path, rows))
    assert len(paths) >= len(WRITERS)
    for path in paths:
        found = survey(path)
        assert (found.rows, found.columns) == (10, {"prompt": (TEXT,), "note": (TEXT,)}), path.name
        assert found.non_null == {"prompt": 10, "note": 4}, path.name


def test_rows_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    lines = [json.dumps({"prompt": "p"}), "{", "", "[1]", json.dumps({"prompt": [1, "a"]})]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    found = survey(tmp_path / "rows.jsonl")
    assert (found.rows, found.columns, found.non_null) == (4, {"prompt": (TEXT,)}, {"prompt": 1})
