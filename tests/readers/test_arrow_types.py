"""Every type of Arrow and Parquet has one form in metadata and in quarantine, and none loses a value."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.row_files import arrow_bytes, parquet_bytes, read

from pairkit.errors import InputError
from pairkit.readers.arrow_types import MAX_LEVELS
from pairkit.readers.formats import blocks

SOME, DIGITS = "00112233-4455-6677-8899-aabbccddeeff", "12345678901234567890.55"
UUIDS = pa.array([UUID(SOME).bytes, None, b"\0" * 16], pa.binary(16))
NAMES = pa.dictionary(pa.int8(), pa.string())

# Three values each: one, null, and another.
VALUES: dict[str, tuple[pa.Array, Any, Any]] = {
    "list_view": (pa.array([[1, 2], None, [3]], pa.list_view(pa.int64())), [1, 2], [3]),
    "large_list_view": (pa.array([["a"], None, []], pa.large_list_view(pa.string())), ["a"], []),
    "views out of order": (
        pa.ListViewArray.from_arrays([2, 0, 0], [1, 0, 2], [7, 8, 9], mask=pa.array([False, True, False])),
        [9],
        [7, 8],
    ),
    "large_list": (pa.array([[1], None, []], pa.large_list(pa.int64())), [1], []),
    "fixed_size_list": (pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int64(), 2)), [1, 2], [3, 4]),
    "dictionary": (pa.array(["a", None, "b"]).dictionary_encode(), "a", "b"),
    "lists of dictionary": (pa.array([["a"], None, []], pa.list_(NAMES)), ["a"], []),
    "string_view": (pa.array(["a", None, "b"], pa.string_view()), "a", "b"),
    "runs": (
        pa.RunEndEncodedArray.from_arrays(pa.array([1, 2, 3], pa.int32()), pa.array(["a", None, "b"])),
        "a",
        "b",
    ),
    "uuid": (
        pa.ExtensionArray.from_storage(
            pa.uuid(), pa.array([UUID(SOME).bytes, None, b"\0" * 16], pa.binary(16))
        ),
        SOME,
        "00000000-0000-0000-0000-000000000000",
    ),
    "map": (
        pa.array([[("a", 1)], None, []], pa.map_(pa.string(), pa.int64())),
        [{"key": "a", "value": 1}],
        [],
    ),
    "decimal": (pa.array([Decimal("1.10"), None, Decimal(DIGITS)]), "1.10", DIGITS),
    "timestamp": (
        pa.array([dt.datetime(2024, 1, 2, 3, 4), None, dt.datetime(1, 1, 1)]),
        "2024-01-02 03:04:00.000000",
        "0001-01-01 00:00:00.000000",
    ),
    "unknown time zone": (
        pa.array([0, None, 1], pa.timestamp("ms", "Nowhere/Town")),
        "1970-01-01 00:00:00.000Z",
        "1970-01-01 00:00:00.001Z",
    ),
    "date": (pa.array([dt.date(2024, 1, 2), None, dt.date(1, 1, 1)]), "2024-01-02", "0001-01-01"),
    "duration": (pa.array([dt.timedelta(seconds=1), None, dt.timedelta(0)]), 1000000, 0),
    "float32": (pa.array([0.1, None, np.nan], pa.float32()), 0.1, "NaN"),
    "float64": (pa.array([1e-5, None, -np.inf]), 1e-5, "-Infinity"),
    "uint64": (pa.array([2**64 - 1, None, 0], pa.uint64()), 2**64 - 1, 0),
}
NOT_IN_PARQUET = ("runs",)


@pytest.mark.default(
    "runs-parquet", "runs-arrow", "timestamp-arrow", "uuid-arrow", "date-parquet", "string_view-parquet",
    "duration-arrow", "float32-parquet", "large_list_view-parquet", "map-arrow", "decimal-parquet",
    "dictionary-arrow", "views out of order-parquet", "fixed_size_list-arrow", "unknown time zone-arrow",
    "list_view-arrow", "uint64-parquet"
)  # fmt: skip
@pytest.mark.parametrize("suffix", ["arrow", "parquet"])
@pytest.mark.parametrize("name", VALUES)
def test_values_of_every_type(tmp_path: Path, name: str, suffix: str) -> None:
    values, first, last = VALUES[name]
    columns = {"prompt": ["p"] * 3, "chosen": ["c", "c", None], "rejected": ["r"] * 3, "x": values}
    path = tmp_path / f"rows.{suffix}"
    if suffix == "arrow":
        path.write_bytes(arrow_bytes(**columns))
    elif name in NOT_IN_PARQUET:
        return
    else:
        pq.write_table(pa.table(columns), path)
    for unit in (2,):
        batch = read(path, rows=unit)
        kept = [json.loads(text, parse_float=str) for text in batch.sets["metadata"].to_pylist()]
        (refused,) = [json.loads(row, parse_float=str) for row in batch.quarantine["row"].to_pylist()]
        written = str(first) if isinstance(first, float) else first
        assert [each.get("x") for each in kept] == ["0.00001" if written == "1e-05" else written, None]
        assert refused["x"] == last


def test_a_union_and_a_schema_without_bound_are_refused(tmp_path: Path) -> None:
    union = pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1]), pa.array(["a"])])
    (tmp_path / "rows.arrow").write_bytes(arrow_bytes(prompt=["p"], x=union))
    deep = pa.array([1])
    for _ in range(MAX_LEVELS + 1):
        deep = pa.StructArray.from_arrays([deep], ["a"])
    pq.write_table(pa.table({"prompt": ["p"], "x": deep}), tmp_path / "rows.parquet")
    for name, problem in (("rows.arrow", "'x' is a union"), ("rows.parquet", "nested")):
        with pytest.raises(InputError, match=problem):
            list(blocks(tmp_path / name, 1))


def test_two_fields_of_one_name_are_refused(tmp_path: Path) -> None:
    """At any depth: a name finds only one of them."""
    one = pa.array([1])
    twice = pa.StructArray.from_arrays([one, pa.array(["b"])], ["a", "a"])
    within = pa.ListArray.from_arrays(
        pa.array([0, 1], pa.int32()), pa.StructArray.from_arrays([twice], ["y"])
    )
    for write in (arrow_bytes, parquet_bytes):
        for values in (twice, within):
            path = tmp_path / ("rows.arrow" if write is arrow_bytes else "rows.parquet")
            path.write_bytes(write(prompt=["p"], chosen=["c"], rejected=["r"], x=values))
            with pytest.raises(InputError, match="'x' has two fields named 'a' in one object; rename one"):
                read(path)
