"""Rows written to files of every format, and files read back through the source `files`."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pairkit.schema import QUARANTINE, UNIDENTIFIED, StageResult
from pairkit.sources import SourceRecipe, open_source
from pairkit.sources.base import converted

PAIR = {"prompt": "p", "chosen": "c", "rejected": "r"}


def write_lines(path: Path, rows: list[Any]) -> None:
    path.write_bytes(b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows))


def write_json(path: Path, rows: list[Any]) -> None:
    path.write_text(json.dumps(rows, ensure_ascii=False, indent=1), encoding="utf-8")


def write_parquet(path: Path, rows: list[Any]) -> None:
    pq.write_table(pa.Table.from_struct_array(pa.array(rows)), path, row_group_size=2)


def write_wrapped(path: Path, rows: list[Any]) -> None:
    path.write_text(json.dumps({"data": rows}), encoding="utf-8")


def write_columns(path: Path, rows: list[Any]) -> None:
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: {str(place): row.get(name) for place, row in enumerate(rows)} for name in names}
    path.write_text(json.dumps(columns, indent=2), encoding="utf-8")


def write_arrow(path: Path, rows: list[Any]) -> None:
    table = pa.Table.from_struct_array(pa.array(rows))
    opened = pa.ipc.new_file if path.suffix == ".feather" else pa.ipc.new_stream
    with opened(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=3)


def write_csv(path: Path, rows: list[Any]) -> None:
    delimiter = {"rows.csv": ",", "semicolons.csv": ";", "rows.tsv": "\t"}[path.name]

    def cell(value: Any) -> str:
        text = value if isinstance(value, str) else json.dumps(value)
        return "" if value is None else '"' + text.replace('"', '""') + '"'

    names = list(dict.fromkeys(name for row in rows for name in row))
    table = [delimiter.join(names), *(delimiter.join(cell(row.get(name)) for name in names) for row in rows)]
    path.write_bytes("".join(line + "\n" for line in table).encode())


WRITERS: dict[str, Callable[[Path, list[Any]], None]] = {
    "rows.jsonl": write_lines,
    "lines.json": write_lines,
    "array.json": write_json,
    "wrapped.json": write_wrapped,
    "columns.json": write_columns,
    "rows.parquet": write_parquet,
    "rows.arrow": write_arrow,
    "rows.feather": write_arrow,
    "rows.csv": write_csv,
    "semicolons.csv": write_csv,
    "rows.tsv": write_csv,
}


PACKED = ("rows.jsonl", "array.json", "rows.csv")  # one of each way to read text


def write_all(folder: Path, rows: list[Any]) -> Iterator[Path]:
    """Write the rows in every format; those of `PACKED` also gzipped and zstd-compressed."""
    for name, write in WRITERS.items():
        path = folder / name
        write(path, rows)
        yield path
        if name in PACKED:
            packed = folder / (name + ".gz")
            packed.write_bytes(gzip.compress(path.read_bytes()))
            yield packed
            packed = folder / (name + ".zst")
            with pa.CompressedOutputStream(str(packed), "zstd") as stream:
                stream.write(path.read_bytes())
            yield packed


def read(path: Path, *, rows: int = 1000, start: int = 0, name: str = "files", **options: Any) -> StageResult:
    """Read all batches of a file, from batch `start` on, as one."""
    opened = open_source(SourceRecipe(name=name, path=str(path), **options))
    parts = list(opened.batches(start=start, rows=rows))
    return converted(
        pa.concat_tables([part.sets for part in parts] or [UNIDENTIFIED.empty_table()]),
        pa.concat_tables([part.quarantine for part in parts] or [QUARANTINE.empty_table()]),
        sum(part.counts["rows"] for part in parts),
    )


def parquet_bytes(**columns: Any) -> bytes:
    """Return a Parquet file of these columns."""
    return parquet_of(pa.table(columns))


def arrow_bytes(**columns: Any) -> bytes:
    """Return an Arrow stream of these columns."""
    return arrow_of(pa.table(columns))


def arrow_of(table: pa.Table) -> bytes:
    """Return an Arrow stream of a table."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def parquet_of(table: pa.Table) -> bytes:
    """Return a Parquet file of a table."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()
