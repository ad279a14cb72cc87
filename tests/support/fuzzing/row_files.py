"""Rows as a file of every format that pairkit reads."""

from __future__ import annotations

import csv
import gzip
import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.ipc
import pyarrow.parquet as pq

Rows = list[dict[str, Any]]
COLUMNAR = (".parquet", ".arrow", ".feather")
FORMATS = (
    ".jsonl",
    ".ndjson",
    ".jsonl.gz",
    ".jsonl.zst",
    ".json",
    ".data.json",
    ".csv",
    ".tsv",
    ".csv.gz",
    *COLUMNAR,
)


def written(rows: Rows, suffix: str) -> bytes:
    """Write rows in the format of a suffix; `.data.json` is an object with a list of them."""
    if suffix in COLUMNAR:
        return _columnar(rows, suffix)
    if suffix.endswith(".gz"):
        return gzip.compress(written(rows, suffix.removesuffix(".gz")), mtime=0)
    if suffix.endswith(".zst"):
        return bytes(pa.compress(written(rows, suffix.removesuffix(".zst")), "zstd", asbytes=True))
    if suffix in (".csv", ".tsv"):
        return _cells(rows, "," if suffix == ".csv" else "\t")
    if suffix == ".json":
        return json.dumps(rows).encode()
    if suffix == ".data.json":
        return json.dumps({"version": 1, "data": rows}, indent=1).encode()
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _cells(rows: Rows, separator: str) -> bytes:
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    table = csv.writer(text, delimiter=separator, lineterminator="\n")
    table.writerow(names)
    for row in rows:
        table.writerow([_cell(row.get(name)) for name in names])
    return text.getvalue().encode("utf-8", "surrogatepass")


def _cell(value: Any) -> Any:
    return value if isinstance(value, (str, int, float)) else "" if value is None else json.dumps(value)


def _columnar(rows: Rows, suffix: str) -> bytes:
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: [row.get(name) for row in rows] for name in names}
    try:
        return _stored(pa.table({name: _column(values) for name, values in columns.items()}), suffix)
    except pa.ArrowNotImplementedError:  # Parquet has no objects without fields
        return _stored(pa.table({name: _texts(values) for name, values in columns.items()}), suffix)


def _stored(table: pa.Table, suffix: str) -> bytes:
    sink = io.BytesIO()
    if suffix == ".parquet":
        pq.write_table(table, sink, row_group_size=2)
    elif suffix == ".feather":
        pyarrow.feather.write_feather(table, sink)
    else:
        with pyarrow.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    return sink.getvalue()


def _column(values: list[Any]) -> pa.Array:
    """Return a column of these values, or of what JSON writes for them if Arrow knows no type of all."""
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError, TypeError, ValueError):
        return _texts(values)


def _texts(values: list[Any]) -> pa.Array:
    return pa.array([None if value is None else json.dumps(value) for value in values])
