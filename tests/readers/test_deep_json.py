"""JSON that is nested deeper than Python and Arrow follow goes to quarantine, wherever it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.row_files import PAIR, read

from pairkit.json_depth import MAX_LEVELS

LINE = json.dumps(PAIR)


def nested(levels: int, kind: str) -> str:
    """Return JSON of so many levels: lists, objects, or both in turn."""
    opens = {"lists": ["["], "objects": ['{"a":'], "both": ["[", '{"a":']}[kind]
    begins = [opens[level % len(opens)] for level in range(levels)]
    return "".join(begins) + "1" + "".join("]" if each == "[" else "}" for each in reversed(begins))


def with_column(value: str) -> str:
    return LINE[:-1] + f', "x": {value}}}'


@pytest.mark.default("128-both", "600-lists", "900-objects", "5000-both")
@pytest.mark.parametrize("kind", ["lists", "objects", "both"])
@pytest.mark.parametrize("levels", [MAX_LEVELS, 600, 900, 1200, 5000])
def test_deep_columns_are_bad_rows(tmp_path: Path, levels: int, kind: str) -> None:
    lines = [LINE, with_column(nested(levels, kind)), LINE]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    batch = read(tmp_path / "rows.jsonl")
    assert (batch.counts["rows"], batch.sets.num_rows) == (3, 2)
    (bad,) = batch.quarantine.to_pylist()
    assert bad["reason"] == "invalid_json"
    assert bad["detail"].startswith("rows.jsonl, row 2: is ")
    json.loads(bad["row"])


def test_a_deep_column_that_is_not_too_deep_is_kept(tmp_path: Path) -> None:
    value = nested(60, "both")
    (tmp_path / "rows.jsonl").write_text(with_column(value))
    (row,) = read(tmp_path / "rows.jsonl").sets.to_pylist()
    assert json.loads(row["metadata"]) == {"x": json.loads(value)}


def test_an_array_of_rows(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text(f"[{LINE}, {with_column(nested(400, 'lists'))}]")
    batch = read(tmp_path / "rows.json")
    assert (batch.sets.num_rows, batch.quarantine.num_rows) == (1, 1)
    assert "nested more than" in batch.quarantine["detail"][0].as_py()


def test_deep_json_in_a_text(tmp_path: Path) -> None:
    """As a prompt it is a text; where a list of completions has to be, it is none."""
    deep = nested(400, "lists")
    lines = [json.dumps({**PAIR, "prompt": deep}), json.dumps({"prompt": "p", "completions": deep})]
    for line, sets in zip(lines, (1, 0), strict=True):
        (tmp_path / "rows.jsonl").write_text(line)
        batch = read(tmp_path / "rows.jsonl")
        assert (batch.sets.num_rows, batch.quarantine.num_rows) == (sets, 1 - sets)


@pytest.mark.default("129", "900", "5000")
@pytest.mark.parametrize("levels", [129, 900, 5000, 100_000])
def test_deep_json_in_tools_and_calls(tmp_path: Path, levels: int) -> None:
    """Whoever trains on them parses them, in a text and in a text of a text."""
    deep = nested(levels, "both")
    function = f'{{"name": "f", "parameters": {deep}, "arguments": {deep}}}'
    call = json.dumps([{"function": {"name": "f", "arguments": deep}}])
    turn = {"role": "assistant", "content": "", "tool_calls": call}
    rows = [
        {**PAIR, "tools": f"[{function}]"},
        {**PAIR, "tools": json.dumps([function])},
        {**PAIR, "tools": [function]},
        {**PAIR, "chat_template_kwargs": f'{{"a": {deep}}}'},
        {**PAIR, "prompt": [{"role": "user", "content": "q"}, turn, {"role": "tool", "content": "4"}]},
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, [*rows, PAIR])))
    batch = read(tmp_path / "rows.jsonl")
    assert (batch.sets.num_rows, batch.quarantine.num_rows) == (1, len(rows))
    assert all("nested more than" in detail for detail in batch.quarantine["detail"].to_pylist())
