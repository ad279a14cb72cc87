"""A survey of a file: every column that any row has, its types, and how many rows have a value.

The first rows do not decide what a file holds: in JSON a column may begin at any row.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from pairkit.arrow import is_json
from pairkit.progress import progress
from pairkit.readers.blocks import refuse_columns
from pairkit.readers.formats import blocks, format_of
from pairkit.readers.json import is_whole
from pairkit.readers.kinds import Kinds
from pairkit.readers.survey_columnar import survey_arrow, survey_parquet
from pairkit.readers.survey_lines import survey_lines
from pairkit.readers.survey_parts import Part, part_of

SURVEY_ROWS = 1000  # per block of formats that have no quicker way
PATIENCE = 3.0  # seconds without a progress bar


@dataclass(frozen=True)
class Survey:
    """The columns of a whole file.

    Attributes:
        rows: rows of the file, with those that cannot be read.
        columns: name -> types of its values, in the order in which the columns first appear. Several where
            rows differ (a text here, messages there); a difference inside lists and objects is a union there;
            `(null,)` if no row has a value.
        non_null: name -> number of rows that have a value.
    """

    rows: int
    columns: Mapping[str, tuple[pa.DataType, ...]]
    non_null: Mapping[str, int]


def survey(path: Path) -> Survey:
    """Return the columns of all rows of a file. Raises `InputError` for a file that cannot be read.

    Text is read once, in memory bounded by its chunks; of Parquet and Arrow files the footer and the nulls.
    """
    columns: dict[str, Kinds] = {}
    rows, non_null = 0, dict[str, int]()
    for part in _shown(_parts(path), path.name):
        rows += part.rows
        for name, kind in part.types.items():
            columns.setdefault(name, Kinds()).add(kind)
            non_null[name] = non_null.get(name, 0) + part.non_null[name]
        refuse_columns(columns, path)
    return Survey(rows, {name: _told(kinds.types()) for name, kinds in columns.items()}, non_null)


def _told(kinds: tuple[pa.DataType, ...]) -> tuple[pa.DataType, ...]:
    """Return the types that tell what a column holds: not that of a few odd values among others."""
    return tuple(kind for kind in kinds if not is_json(kind)) or kinds


def _shown(parts: Iterator[Part], name: str) -> Iterator[Part]:
    """Yield the parts; show a bar if they take more than seconds."""
    begin, rows, advance = time.monotonic(), 0, None
    with ExitStack() as stack:
        for part in parts:
            yield part
            if advance is None and time.monotonic() - begin > PATIENCE:
                advance = stack.enter_context(progress(f"columns of {name}", None, unit="rows", done=rows))
            if advance is not None:
                advance(part.rows)
            rows += part.rows


def _parts(path: Path) -> Iterator[Part]:
    name, compression = format_of(path)
    if name == "parquet":
        return survey_parquet(path)
    if name == "arrow":
        return survey_arrow(path)
    if name in ("jsonl", "json") and not is_whole(path, compression):
        return survey_lines(path, compression)
    return _survey_blocks(path)


def _survey_blocks(path: Path) -> Iterator[Part]:
    for block in blocks(path, SURVEY_ROWS):
        raw = block.load()
        yield Part(len(raw.bad), {}, {})
        yield from (part_of(rows.table) for rows in raw.tables)
