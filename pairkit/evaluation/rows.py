"""The rows of benchmark files (questions, answers, annotations), in any format that pairkit reads."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from pairkit.errors import InputError
from pairkit.files import sha256

# Rows in memory at a time.
_ROWS = 1000

Row = Mapping[str, Any]


class DataFile(NamedTuple):
    """What a result says of a file that it was computed from."""

    file: str  # its name only, because the folders of a machine tell a reader nothing
    sha256: str
    rows: int
    unused: int = 0  # rows about none of the questions
    unused_first: tuple[str, ...] = ()  # what some of these are about

    def leaving_out(self, unused: Sequence[str]) -> DataFile:
        """Return what to say where rows are not used; `unused` is what each of them is about."""
        return self._replace(unused=len(unused), unused_first=tuple(dict.fromkeys(unused))[:3])


def numbered_rows(path: Path) -> Iterator[tuple[int, Row | None, tuple[str, str] | None]]:
    """Yield number, row and problem (reason, detail) of each row, in the order of the file.

    Raises `InputError` for a file that is absent or cannot be read.
    """
    from pairkit.readers.formats import blocks

    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with closing(blocks(path, _ROWS)) as reader:
        for block in reader:
            raw = block.load()
            entries: list[tuple[int, Row | None, tuple[str, str] | None]] = [
                (bad.number, None, (bad.reason, bad.detail)) for bad in raw.bad
            ]
            for part in raw.tables:
                rows = part.table.to_pylist()
                entries += [(int(n), row, None) for n, row in zip(part.numbers, rows, strict=True)]
            # Bad rows and tables come apart, but a limit counts in the order of the file.
            yield from sorted(entries, key=lambda entry: entry[0])


def read_rows(path: Path) -> tuple[list[tuple[int, Row]], DataFile]:
    """Read every row of a file, with its number.

    Raises `InputError` if one cannot be read: a benchmark with a row less is another benchmark.
    """
    rows: list[tuple[int, Row]] = []
    for number, row, problem in numbered_rows(path):
        if row is None:
            raise InputError.at(problem[1] if problem else "cannot be read", file=path, row=number)
        rows.append((number, row))
    if not rows:
        raise InputError(f"{path}: has no rows")
    return rows, DataFile(path.name, sha256(path), len(rows))


def number_field(row: Row, name: str, path: Path, number: int) -> float:
    """Return the finite number in a field of a row, which may be a text, as in CSV. Raises `InputError`."""
    value = row.get(name)
    try:
        # To Python true is 1, to a reader of scores a mistake.
        as_float = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        as_float = math.nan
    if not math.isfinite(as_float):
        kind = "is missing" if name not in row else f"is {value!r}, not a number"
        raise InputError.at(f"field {name!r} {kind}", file=path, row=number)
    return as_float


def text_field(row: Row, name: str, path: Path, number: int) -> str:
    """Return the text in a field of a row. Raises `InputError` if it is absent or no text."""
    value = row.get(name)
    if not isinstance(value, str):
        kind = "is missing" if name not in row else f"is {type(value).__name__}, not a text"
        raise InputError.at(f"field {name!r} {kind}", file=path, row=number)
    return value


def texts_of(value: Any, path: Path, number: int, field: str) -> tuple[str, ...]:
    """Return a list of texts. Raises `InputError` for anything else."""
    if not isinstance(value, list) or not value or not all(isinstance(text, str) for text in value):
        raise InputError.at(f"field {field!r} is not a list of texts", file=path, row=number)
    return tuple(value)
