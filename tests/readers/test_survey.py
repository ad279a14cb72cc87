"""A survey of a file: every column of every row, its types, and how many rows have a value."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.row_files import WRITERS, write_all, write_lines

from pairkit.arrow import is_json
from pairkit.errors import InputError
from pairkit.readers.blocks import CHUNK
from pairkit.readers.formats import blocks
from pairkit.readers.kinds import MAX_FIELDS
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
    (deep,) = found.columns["deep"]
    assert [field.name for field in deep] == ["x", "w"]
    assert deep.field("w").type == TRUTH
    several = deep.field("x").type.value_type.field("y").type
    assert pa.types.is_union(several)
    assert {field.type for field in several} == {INTEGER, TEXT}


def test_every_format_has_the_same_columns_and_counts(tmp_path: Path) -> None:
    rows = [{"prompt": f"p{row}", "note": None if row % 3 else "n"} for row in range(10)]
    paths = list(write_all(tmp_path, rows))
    assert len(paths) >= len(WRITERS)
    for path in paths:
        found = survey(path)
        assert (found.rows, found.columns) == (10, {"prompt": (TEXT,), "note": (TEXT,)}), path.name
        assert found.non_null == {"prompt": 10, "note": 4}, path.name


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(-1, 1).map(lambda value: value / 2)
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
    max_leaves=5,
)
rows_of_any_kind = st.lists(
    st.dictionaries(st.sampled_from(["prompt", "tools", "x", "y"]), values, min_size=1, max_size=4),
    max_size=8,
)


@settings(max_examples=30)
@given(rows_of_any_kind, st.sampled_from(["", "\n", "{\n", "[1]\n"]))
def test_lines_have_the_columns_that_reading_them_gives(
    tmp_path: Path, rows: list[dict[str, Any]], odd: str
) -> None:
    path = tmp_path / "rows.jsonl"
    write_lines(path, [{"prompt": "p"}, *rows])
    path.write_bytes(path.read_bytes() + odd.encode() + b'{"prompt": "q"}\n')
    found, size, counts = survey(path), 0, dict[str, int]()
    for block in blocks(path, 3):
        raw = block.load()
        size += raw.size
        for table, _, _ in raw.tables:
            for field in table.schema:
                counts[field.name] = counts.get(field.name, 0) + len(table) - table[field.name].null_count
                kinds = [kind for kind in found.columns[field.name] if fits(field.type, kind)]
                # JSON is what a value has that has no type, and hides no other's.
                untold = pa.types.is_null(field.type) or is_json(field.type)
                assert untold or len(kinds) == 1, (field, found.columns)
    assert (found.rows, found.non_null) == (size, counts)


def fits(kind: pa.DataType, whole: pa.DataType) -> bool:
    """Whether values of a type are values of another: of a union if of one of its types."""
    if pa.types.is_null(kind):
        return True
    if pa.types.is_union(whole):
        return any(fits(kind, whole.field(place).type) for place in range(whole.num_fields))
    if pa.types.is_list(kind):
        return pa.types.is_list(whole) and fits(kind.value_type, whole.value_type)
    if pa.types.is_struct(kind):
        return pa.types.is_struct(whole) and all(
            fits(field.type, whole.field(field.name).type) for field in kind
        )
    return kind == whole or (kind, whole) == (INTEGER, NUMBER)


def test_a_line_that_is_longer_than_a_chunk_is_one_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    long = "x" * (3 * CHUNK)
    write_lines(
        path, [{"prompt": "a"}, {"prompt": long, "n": 1}, {"prompt": "b"}, {"prompt": long}, {"m": 1}]
    )
    found = survey(path)
    assert (found.rows, found.non_null) == (5, {"prompt": 4, "n": 1, "m": 1})
    path.write_bytes(path.read_bytes().rstrip())
    assert survey(path) == found


def test_dates_and_tools_are_the_texts_that_reading_gives(tmp_path: Path) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"x": 1}}}
    rows = [{"day": "2024-01-02", "tools": [tool], "messages": [{"role": "a", "tool_calls": [tool]}]}]
    write_lines(tmp_path / "rows.jsonl", rows)
    found = survey(tmp_path / "rows.jsonl")
    assert (found.columns["day"], found.columns["tools"]) == ((TEXT,), (TEXT,))
    (messages,) = found.columns["messages"]
    assert messages.value_type.field("tool_calls").type == TEXT


def test_objects_that_are_dictionaries_do_not_grow_without_end(tmp_path: Path) -> None:
    write_lines(tmp_path / "rows.jsonl", [{"logprobs": {f"t{row}": 1}, f"c{row}": 1} for row in range(1500)])
    found = survey(tmp_path / "rows.jsonl")
    assert found.columns["logprobs"][0].num_fields == MAX_FIELDS
    assert len(found.columns) == 1501


def columnar() -> pa.Table:
    reply = pa.struct({"text": TEXT, "score": NUMBER})
    return pa.table(
        {
            "prompt": pa.array(["a", None, "c", None] * 50),
            "completions": pa.array([[{"text": "x", "score": None}], None, [], [None]] * 50, pa.list_(reply)),
            "a.b": pa.array([{"c": None}, None] * 100, pa.struct({"c": INTEGER, "d": TEXT})),
            "a": pa.array([{"b": 1}] * 200, pa.struct({"b": INTEGER})),
            "empty": pa.nulls(200),
        }
    )


@pytest.mark.parametrize("statistics", [True, False])
def test_columns_of_parquet_are_counted_with_and_without_statistics(tmp_path: Path, statistics: bool) -> None:
    table = columnar()
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=30, write_statistics=statistics)
    found = survey(tmp_path / "rows.parquet")
    assert found.rows == 200
    assert found.non_null == {"prompt": 100, "completions": 150, "a.b": 100, "a": 200, "empty": 0}
    assert found.columns == {field.name: (field.type,) for field in table.schema}


def test_columns_of_arrow_are_counted(tmp_path: Path) -> None:
    table = columnar()
    for name, opened in (("rows.arrow", pa.ipc.new_stream), ("rows.feather", pa.ipc.new_file)):
        with opened(str(tmp_path / name), table.schema) as writer:
            writer.write_table(table, max_chunksize=30)
        found = survey(tmp_path / name)
        assert found.rows == 200
        assert found.columns == {field.name: (field.type,) for field in table.schema}
        assert found.non_null == {"prompt": 100, "completions": 150, "a.b": 100, "a": 200, "empty": 0}


def test_a_file_that_ends_early_is_an_error(tmp_path: Path) -> None:
    for path in write_all(tmp_path, [{"prompt": "p" * 50, "n": row} for row in range(300)]):
        if path.suffix in (".gz", ".parquet", ".arrow", ".feather"):
            path.write_bytes(path.read_bytes()[:-40] if path.suffix == ".gz" else path.read_bytes()[:1000])
            with pytest.raises(InputError, match=re.escape(str(path))):
                survey(path)


def test_a_survey_of_seconds_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_lines(tmp_path / "rows.jsonl", [{"prompt": "p"}] * 10)
    survey(tmp_path / "rows.jsonl")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("pairkit.readers.survey.PATIENCE", -1.0)
    survey(tmp_path / "rows.jsonl")
    assert capsys.readouterr().err.startswith("columns of rows.jsonl: 10 rows in ")


def test_the_field_file_has_its_late_columns(real_data: Path) -> None:
    found = survey(real_data / "field" / "late-columns.jsonl.gz")
    assert found.rows == 1300
    assert [found.non_null[name] for name in ("prompt", "system", "score_chosen", "score_rejected")] == [
        1300,
        100,
        100,
        100,
    ]


def test_rows_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    lines = [json.dumps({"prompt": "p"}), "{", "", "[1]", json.dumps({"prompt": [1, "a"]})]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    found = survey(tmp_path / "rows.jsonl")
    assert (found.rows, found.columns, found.non_null) == (4, {"prompt": (TEXT,)}, {"prompt": 2})
