"""Parquet files."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.row_files import arrow_of, parquet_of, read

from pairkit.sources import SourceRecipe, open_source


def test_texts_that_are_not_utf8_go_to_quarantine(tmp_path: Path) -> None:
    broken = pa.array([b"good", b"\xed\xa0\x80", b"fine"], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 3, broken.buffers())
    pq.write_table(pa.table({"prompt": text, "n": [1, 2, 3]}), tmp_path / "rows.parquet")
    batch = read(tmp_path / "rows.parquet")
    assert [row["prompt"][0]["content"] for row in batch.sets.to_pylist()] == ["good", "fine"]
    (bad,) = batch.quarantine.to_pylist()
    assert bad["reason"] == "invalid_utf8"
    assert bad["detail"] == "rows.parquet, row 2, field 'prompt': is not UTF-8"
    assert json.loads(bad["row"]) == {"prompt": "\\xed\\xa0\\x80", "n": 2}


@pytest.mark.parametrize("write", [parquet_of, arrow_of])
def test_rows_that_are_not_utf8_keep_their_bytes(tmp_path: Path, write: Callable[[pa.Table], bytes]) -> None:
    """In columns of every form, next to values that JSON has no form for."""
    texts = pa.array([b"ab\xff\xfe c", b"ok"]).view(pa.string())
    inner = pa.StructArray.from_arrays([texts, pa.array([1, 2])], ["k", "n"])
    columns = {
        **{"prompt": ["p", "p"], "chosen": ["c", "c"], "rejected": ["r", "r"], "x": texts},
        "nested": pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), inner),
        "large": pa.array([b"\xc3", None], pa.large_binary()).view(pa.large_string()),
        "when": pa.array([date(2024, 1, 31)] * 2),
        "bytes": [b"\xff", b"b"],
    }
    path = tmp_path / ("rows.parquet" if write is parquet_of else "rows.arrow")
    path.write_bytes(write(pa.table(columns)))
    batch = read(path)
    assert batch.sets.num_rows == 1
    (row,) = batch.quarantine.to_pylist()
    assert row["detail"] == f"{path.name}, row 1, field 'x': is not UTF-8"
    assert json.loads(row["row"]) == {
        **{"prompt": "p", "chosen": "c", "rejected": "r", "x": r"ab\xff\xfe c"},
        **{
            "nested": [{"k": r"ab\xff\xfe c", "n": 1}],
            "large": r"\xc3",
            "when": "2024-01-31",
            "bytes": "/w==",
        },
    }


def test_views_of_texts_are_texts(tmp_path: Path) -> None:
    """As polars and DuckDB write them."""
    rows = [{"prompt": f"p{row}", "chosen": "c", "rejected": "r" * row} for row in range(1, 40)]
    views = pa.schema(
        [("prompt", pa.string_view()), ("chosen", pa.large_string()), ("rejected", pa.string_view())]
    )
    table = pa.Table.from_pylist(rows, views)
    encoded = table.set_column(1, "chosen", table["chosen"].cast(pa.string()).dictionary_encode())
    listed = table.append_column("tags", pa.array([["a"]] * 39, pa.list_(pa.string_view())))
    expected = [(row["prompt"], ["c", row["rejected"]]) for row in rows]
    for each in (table, encoded, listed):
        pq.write_table(each, tmp_path / "rows.parquet")
        for start in (0, 2):
            sets = read(tmp_path / "rows.parquet", rows=10, start=start).sets.to_pylist()
            found = [
                (row["prompt"][0]["content"], [text["text"] for text in row["completions"]]) for row in sets
            ]
            assert found == expected[10 * start :]


def test_views_that_are_not_utf8_go_to_quarantine(tmp_path: Path) -> None:
    """Short views are in the view itself, longer ones in a buffer."""
    for broken in (b"\xed\xa0\x80", b"\xed\xa0\x80" * 9):
        texts = pa.array([b"good", broken, b"fine"], pa.binary_view())
        view = pa.Array.from_buffers(pa.string_view(), 3, texts.buffers())
        pq.write_table(pa.table({"prompt": view}), tmp_path / "rows.parquet")
        batch = read(tmp_path / "rows.parquet")
        assert [row["prompt"][0]["content"] for row in batch.sets.to_pylist()] == ["good", "fine"]
        assert [each["reason"] for each in batch.quarantine.to_pylist()] == ["invalid_utf8"]


def test_reading_starts_in_the_middle_of_a_row_group(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"prompt": [str(i) for i in range(5000)]}), path, row_group_size=1700)
    whole = read(path).sets
    assert read(path, rows=400, start=9).sets.equals(whole.slice(3600))
    opened = open_source(SourceRecipe(name="files", path=str(path), limit=900))
    assert opened.total_rows == 900
