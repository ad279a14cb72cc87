"""Paths into rows: the types that a file has there, and the values of the rows."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from support.row_files import write_lines

from pairkit.errors import RecipeError
from pairkit.readers.survey import survey
from pairkit.sources.layouts.paths import steps, types_at, values_at

TEXT, INTEGER = pa.string(), pa.int64()


def test_types_are_those_of_all_rows(tmp_path: Path) -> None:
    message = {"role": "user", "content": "c"}
    rows = [{"prompt": "a", "deep": {"x": 1}}, {"prompt": [message], "deep": {"x": "z", "w": True}}]
    write_lines(tmp_path / "rows.jsonl", rows)
    columns = survey(tmp_path / "rows.jsonl").columns
    # A text may be JSON, of which only the rows tell.
    assert types_at(columns, "prompt[].content") == [pa.null(), pa.list_(TEXT)]
    assert types_at(columns, "prompt[0].content") == [pa.null(), TEXT]
    assert types_at(columns, "deep.w") == [pa.bool_()]
    assert types_at(columns, "deep.nothing") == types_at(columns, "nothing") == []


def test_a_name_with_a_dot_is_a_column_before_it_is_a_path(tmp_path: Path) -> None:
    write_lines(tmp_path / "rows.jsonl", [{"a.b": "t", "a": {"b": 1, "c": 2}}])
    columns = survey(tmp_path / "rows.jsonl").columns
    assert types_at(columns, "a.b") == [TEXT]
    assert types_at(columns, "a.c") == [INTEGER]


def test_values_are_null_where_a_path_leads_nowhere() -> None:
    rows = pa.array([{"x": [{"y": "a"}, {"y": "b"}]}, {"x": []}, None])
    columns = {"c": rows, "text": pa.array(['{"y": [1, 2]}', "no JSON", None])}
    assert values_at(columns, "c.x[0].y", 3).to_pylist() == ["a", None, None]
    assert values_at(columns, "c.x[-1].y", 3).to_pylist() == ["b", None, None]
    assert values_at(columns, "c.z", 3).to_pylist() == [None, None, None]
    assert values_at(columns, "text.y[1]", 3).to_pylist() == [2, None, None]


@pytest.mark.parametrize("path", ["", "a..b", "[0].a", "a[b]", "a[0"])
def test_broken_paths_are_refused(path: str) -> None:
    with pytest.raises(RecipeError, match="cannot read the path"):
        steps(path)
