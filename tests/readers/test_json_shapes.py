"""One JSON value as rows: a row, rows under a key, and the orientations of pandas."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.row_files import PAIR, read, write_lines

from pairkit.errors import InputError
from pairkit.readers.formats import blocks

ROWS = [{"prompt": f"p{row}", "chosen": f"c{row}", "rejected": f"r{row}"} for row in range(12)]
MESSAGES = [{"role": "user", "content": "u"}]


def rows_in(path: Path) -> list[dict[str, Any]]:
    """The rows that the readers return, and a check that they are numbered from 1."""
    rows: list[dict[str, Any]] = []
    for block in blocks(path, 5):
        raw = block.load()
        assert not raw.bad
        for table, numbers, _ in raw.tables:
            assert numbers.tolist() == list(range(len(rows) + 1, len(rows) + 1 + table.num_rows))
            rows += table.to_pylist()
    return rows


# What other programs write, each of them the rows of `ROWS`.
SHAPES = {
    "a key": json.dumps({"data": ROWS}),
    "a key with others, over lines": json.dumps({"version": 1, "meta": {"a": [1]}, "rows": ROWS}, indent=2),
    "a key in a key": json.dumps({"result": {"count": 12, "rows": ROWS}}, indent=1),
    "a key whose name is a column's": json.dumps({"conversations": ROWS}),
    "a row per line under a key": '{"data": [\n' + ",\n".join(map(json.dumps, ROWS)) + "\n]}",
    "an array, a row per line": "[\n" + ",\n".join(map(json.dumps, ROWS)) + "\n]\n",
    "an array in one line": json.dumps(ROWS),
    "objects over several lines, as jq prints them": "\n".join(json.dumps(row, indent=2) for row in ROWS),
    "lines": "\n".join(map(json.dumps, ROWS)),
    "columns as lists": json.dumps({name: [row[name] for row in ROWS] for name in ROWS[0]}),
    "a mark of UTF-8": "\ufeff" + json.dumps(ROWS, indent=1),
}


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_content_decides_where_the_rows_are(tmp_path: Path, shape: str, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    path.write_text(SHAPES[shape], encoding="utf-8")
    assert rows_in(path) == ROWS


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("orient", ["records", "columns", "index", "split", "table"])
def test_every_orientation_of_pandas_gives_the_same_rows(
    tmp_path: Path, orient: Any, indent: int | None
) -> None:
    path = tmp_path / "frame.json"
    pandas.DataFrame(ROWS).to_json(path, orient=orient, indent=indent)
    assert rows_in(path) == ROWS
    pandas.DataFrame(ROWS[:1]).to_json(path, orient=orient, indent=indent)
    assert rows_in(path) == ROWS[:1]


@pytest.mark.parametrize(
    ("orient", "number"), [("columns", str), ("index", str), ("split", int), ("table", int)]
)
def test_an_index_with_content_is_kept(tmp_path: Path, orient: Any, number: type) -> None:
    path = tmp_path / "frame.json"
    pandas.DataFrame(ROWS)[3:5].to_json(path, orient=orient)
    assert rows_in(path) == [{**ROWS[3], "index": number(3)}, {**ROWS[4], "index": number(4)}]


def test_rows_under_names_keep_them(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({"first": ROWS[0], "second": ROWS[1]}))
    assert rows_in(path) == [{**ROWS[0], "index": "first"}, {**ROWS[1], "index": "second"}]


# Each of these is one row, whatever lists and objects it is made of.
SINGLE = [
    PAIR,
    {"prompt": "p", "completions": [{"text": "a", "score": 1}, {"text": "b", "score": 0}]},
    {"prompt": MESSAGES, "chosen": MESSAGES, "rejected": MESSAGES},
    {"messages": MESSAGES},
    {"id": 7, "conversation_a": MESSAGES, "conversation_b": MESSAGES, "winner": "tie"},
    {"input": {"messages": MESSAGES}, "preferred_output": MESSAGES, "non_preferred_output": MESSAGES},
    {"prompt": {"text": "p"}, "chosen": {"text": "c"}, "rejected": {"text": "r"}},
    {"asked": {"context": "c"}, "answered": {"text": "t"}},
    {"instruction": "i", "completions": [{"response": "a", "annotations": {"x": "1"}}], "models": ["m"]},
]


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("row", SINGLE, ids=lambda row: ",".join(row))
def test_one_row_stays_one_row(tmp_path: Path, row: dict[str, Any], indent: int | None) -> None:
    for name in ("row.json", "row.jsonl"):
        (tmp_path / name).write_text(json.dumps(row, indent=indent))
        assert rows_in(tmp_path / name) == [row]


def test_what_holds_for_all_rows_is_in_every_row(tmp_path: Path) -> None:
    own = {**ROWS[1], "system": "own"}
    around = {"version": 2, "topic": "T", "system": "S", "examples": [ROWS[0], own], "info": {"a": 1}}
    for name, indent in (("rows.json", None), ("rows.json", 1), ("rows.jsonl", None)):
        (tmp_path / name).write_text(json.dumps(around, indent=indent))
        first, second = rows_in(tmp_path / name)
        assert first == {**ROWS[0], "system": "S", "topic": "T"}
        assert second == {**own, "topic": "T"}
    systems = [row["prompt"][0]["content"] for row in read(tmp_path / "rows.json").sets.to_pylist()]
    assert systems == ["S", "own"]


def test_a_line_is_a_row_whatever_the_number_of_lines(tmp_path: Path) -> None:
    row = {"source": "s", "conversation": [{"input": "p", "output": "c"}]}
    for lines in (1, 2):
        write_lines(tmp_path / "rows.jsonl", [row] * lines)
        assert rows_in(tmp_path / "rows.jsonl") == [row] * lines


def test_messages_of_a_tree_under_a_key_are_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    rows = [{"message_id": str(row), "role": "prompter", "text": "t", "rank": row} for row in range(3)]
    path.write_text(json.dumps({"export": rows}))
    assert rows_in(path) == rows


def test_a_first_line_that_is_broken_does_not_make_lines_an_object(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    for broken in (
        '{"prompt": "a", "chosen"',
        '{"prompt": "a"} and more',
        '  {"prompt": "a"},',
        '{"prompt": "a',
        "[1, 2]",
        '{"prompt":',
        "{",
        "no JSON",
    ):
        write_lines(path, [PAIR] * 3)
        path.write_bytes(broken.encode() + b"\n" + path.read_bytes())
        batch = read(path)
        assert (batch.sets.num_rows, batch.quarantine.num_rows) == (3, 1), broken
        assert batch.quarantine["detail"][0].as_py().startswith("rows.jsonl, row 1: is not ")


def test_rows_of_a_table_that_are_no_objects_are_bad_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({"schema": {"primaryKey": ["index"]}, "data": [PAIR, "text", PAIR]}))
    batch = read(path)
    assert (batch.sets.num_rows, batch.quarantine["detail"].to_pylist()) == (
        2,
        ["rows.json, row 2: is not an object with fields"],
    )


def test_a_bad_row_under_a_key_is_named_by_its_place(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({"data": [PAIR, {**PAIR, "chosen": 3}, PAIR]}))
    batch = read(path)
    assert (batch.counts["rows"], batch.sets.num_rows) == (3, 2)
    assert batch.quarantine["detail"][0].as_py().startswith("rows.json, row 2, field 'chosen'")


scalars = st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["", "0", "p", "text"])
names = st.sampled_from(["prompt", "data", "columns", "index", "schema", "primaryKey", "0", "1", "x"])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=100)
@given(values, st.sampled_from([".json", ".jsonl"]), st.sampled_from([None, 1]))
def test_any_value_is_rows_or_one_message(
    tmp_path: Path, value: Any, suffix: str, indent: int | None
) -> None:
    path = tmp_path / f"value{suffix}"
    path.write_text(json.dumps(value, indent=indent))
    # Any other error fails the test, and so does a crash.
    with suppress(InputError):
        raw = [block.load() for block in blocks(path, 2)]
        for block in raw:
            assert block.size == sum(part.table.num_rows for part in block.tables) + len(block.bad)
        assert not isinstance(value, list) or sum(block.size for block in raw) == len(value)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
def test_columns_with_different_numbers_of_values_are_named(tmp_path: Path, name: str) -> None:
    columns = {"prompt": ["p", "q"], "chosen": ["a", "b"], "rejected": ["c"]}
    (tmp_path / name).write_text(json.dumps(columns))
    with pytest.raises(
        InputError, match=r"different numbers of values: prompt \(2\), chosen \(2\), rejected \(1\)"
    ):
        read(tmp_path / name)
    # Replies of one prompt may be any number.
    (tmp_path / name).write_text(json.dumps({"prompt": "p", "chosen": ["a", "b"], "rejected": ["c"]}))
    assert read(tmp_path / name).sets.num_rows == 1
