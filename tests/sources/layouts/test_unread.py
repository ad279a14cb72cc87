"""Columns and parts of columns that no field reads: named with their share, and kept as metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairkit.schema import SETS
from pairkit.sources import Opened, SourceRecipe, open_source

PAIR = {"prompt": "p", "chosen": "c", "rejected": "r"}


def opened(folder: Path, rows: list[dict[str, Any]], **fields: Any) -> Opened:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return open_source(SourceRecipe(name="files", path=str(path), **fields))


def metadata(source: Opened) -> list[dict[str, Any]]:
    return [json.loads(text) for batch in source.batches() for text in batch.sets["metadata"].to_pylist()]


def test_columns_without_a_field_have_the_share_of_rows_with_a_value(tmp_path: Path) -> None:
    rows = [
        {**PAIR, "domain": "d", "empty": None, "note": "n" if number == 900 else None}
        for number in range(1000)
    ]
    source = opened(tmp_path, rows)
    assert source.readings["rows.jsonl"].unread == {"domain": 1.0, "note": 0.001}
    assert metadata(source)[900] == {"domain": "d", "note": "n"}


def test_a_column_that_begins_late_is_named(tmp_path: Path) -> None:
    rows = [PAIR] * 1500 + [{**PAIR, "late": 1}] * 500
    assert opened(tmp_path, rows).readings["rows.jsonl"].unread == {"late": 0.25}


def test_everything_is_read_of_rows_with_known_columns_alone(tmp_path: Path) -> None:
    reading = opened(tmp_path, [{**PAIR, "system": "s", "score_chosen": 2, "score_rejected": 1}]).readings[
        "rows.jsonl"
    ]
    assert (reading.unread, reading.discarded, reading.unread_parts) == ({}, [], [])


@pytest.mark.parametrize(
    ("row", "mapped", "parts", "kept"),
    [
        (
            {"data": {"q": "p", "good": "c", "bad": "r", "topic": "t", "more": {"n": 1}}},
            {"prompt": "data.q", "chosen": "data.good", "rejected": "data.bad"},
            ["data.topic", "data.more"],
            {"data": {"topic": "t", "more": {"n": 1}}},
        ),
        (
            {"a": {"b": {"q": "p", "x": 1}, "y": None}, "chosen": "c", "rejected": "r"},
            {"prompt": "a.b.q", "chosen": "chosen", "rejected": "rejected"},
            ["a.b.x"],
            {"a": {"b": {"x": 1}, "y": None}},
        ),
        # A list is read or not read as a whole.
        (
            {"q": "p", "o": [{"text": "c", "by": "m"}, {"text": "r", "by": "n"}]},
            {"prompt": "q", "chosen": "o[0].text", "rejected": "o[1].text"},
            [],
            {},
        ),
    ],
)
def test_parts_of_objects_without_a_field_are_named_and_kept(
    row: dict[str, Any], mapped: dict[str, str], parts: list[str], kept: dict[str, Any], tmp_path: Path
) -> None:
    source = opened(tmp_path, [row], map=mapped)
    assert list(source.readings["rows.jsonl"].unread_parts) == parts
    assert metadata(source) == [kept]


def test_what_metadata_cannot_keep_is_known(tmp_path: Path) -> None:
    columns = {
        **{name: pa.array([text]) for name, text in PAIR.items()},
        "blob": pa.array([b"x"]),
        "messages": pa.array([[{"role": "user", "content": "p"}]]),
        "at": pa.array([0], pa.timestamp("ms")),
        "about": pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"k": 1}'])),
    }
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet")
    source = open_source(SourceRecipe(name="files", path=str(tmp_path / "rows.parquet")))
    reading = source.readings["rows.parquet"]
    assert set(reading.unread) == {"blob", "messages", "at", "about"}
    assert reading.discarded == ["blob", "messages"]
    assert metadata(source) == [{"at": "1970-01-01 00:00:00.000", "about": '{"k": 1}'}]


def test_sets_that_pairkit_wrote_have_nothing_unread(tmp_path: Path) -> None:
    own = {
        "set_id": "0",
        "prompt_id": "1",
        "source": "s",
        "prompt": [{"role": "user", "content": "p"}],
        "completions": [{"text": "c", "origin": "source", "scores": []}],
        "metadata": '{"topic":"t"}',
    }
    pq.write_table(pa.Table.from_pylist([own], SETS), tmp_path / "rows.parquet")
    source = open_source(SourceRecipe(name="files", path=str(tmp_path / "rows.parquet")))
    assert source.readings["rows.parquet"].unread == {}
    assert metadata(source) == [{"topic": "t"}]


def test_keys_of_completions_that_become_metadata_are_named(tmp_path: Path) -> None:
    row = {
        "prompt": "q",
        "completions": [
            {"text": "x", "score": 1, "model": "m", "quality": 4, "scores": {"a": 1}},
            {"text": "y"},
        ],
    }
    reading = opened(tmp_path, [row]).readings["rows.jsonl"]
    assert reading.unread_parts == ["completions[].quality", "completions[].scores"]
    mapped = {"prompt": "prompt", "completions": "completions", "scores": "completions[].quality"}
    assert opened(tmp_path, [row], map=mapped).readings["rows.jsonl"].unread_parts == ["completions[].scores"]
