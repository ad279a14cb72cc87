"""Parquet files of a collection, read by row groups and leaf columns; whatever fails names the file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pairkit.errors import InputError, PairkitError, shortened
from pairkit.hashing import Stamp, stamp

ROWS = 512  # of one read with texts
_ITEM = re.compile(r"\.(?:list|bag)\.(?:item|element|array|array_element)(?=\.|$)")
ADVICE = "put the file back, or build the dataset again"


@dataclass(frozen=True)
class Shard:
    """A Parquet file with its footer, which is read once.

    Attributes:
        label: its name in the collection, for messages.
        split, segment: what all of its sets belong to; "" where there is none.
        stamp: its state when it was opened: other content has other row groups.
    """

    path: Path
    label: str
    split: str
    segment: str
    footer: Any  # pq.FileMetaData
    stamp: Stamp

    @property
    def rows(self) -> int:
        """The number of its rows."""
        return int(self.footer.num_rows)

    @property
    def groups(self) -> int:
        """The number of its row groups."""
        return int(self.footer.num_row_groups)

    @cached_property
    def cuts(self) -> npt.NDArray[np.int64]:
        """The first row of each row group and, last, the number of rows: [groups + 1]."""
        sizes = [self.footer.row_group(number).num_rows for number in range(self.groups)]
        return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    @cached_property
    def leaves(self) -> dict[str, str]:
        """The dotted paths of its leaf columns, as pairkit names the levels of lists and as the file does."""
        schema = self.footer.schema
        paths = (schema.column(number).path for number in range(len(schema)))
        # Other writers have other names for the items of a list.
        return {_ITEM.sub(".list.element", path): path for path in paths}

    def having(self, columns: Iterable[str]) -> list[str]:
        """Return those of some leaf columns that the file has: one of an older version lacks newer ones."""
        return [self.leaves[name] for name in columns if name in self.leaves]

    def tables(
        self, groups: Iterable[int], columns: Sequence[str], encoded: Sequence[str] = ()
    ) -> Iterator[pa.Table]:
        """Read leaf columns of some row groups; those of `encoded` as dictionaries where that can be read."""
        names = self.having(columns)
        with (
            self._file(self.having(name for name in encoded if name in columns)) as file,
            self._file() as plain,
        ):
            for number in groups:
                try:
                    table = file.read_row_group(number, names, use_threads=False)
                # A row group that is too long for one dictionary.
                except pa.ArrowNotImplementedError:
                    table = plain.read_row_group(number, names, use_threads=False)
                # Bytes of a text that are no UTF-8 would fail where it is used.
                table.validate(full=True)
                yield table

    def blocks(self, columns: Sequence[str], groups: Sequence[int]) -> Iterator[pa.RecordBatch]:
        """Read leaf columns of some row groups, at most `ROWS` rows at a time."""
        with self._file() as file:
            for batch in file.iter_batches(ROWS, list(groups), self.having(columns), use_threads=False):
                batch.validate(full=True)
                yield batch

    def at(self, rows: Sequence[int], columns: Sequence[str]) -> pa.Table:
        """Read leaf columns of single rows, which ascend."""
        places = np.asarray(rows, np.int64)
        groups = np.searchsorted(self.cuts, places, side="right") - 1
        parts = []
        for number in np.unique(groups).tolist():
            local_rows = places[groups == number] - self.cuts[number]
            begin = 0
            for batch in self.blocks(columns, [number]):
                inside = local_rows[(local_rows >= begin) & (local_rows < begin + batch.num_rows)] - begin
                if len(inside):
                    parts.append(pa.Table.from_batches([batch]).take(pa.array(inside)))
                begin += batch.num_rows
                if begin > local_rows[-1]:
                    break
        return pa.concat_tables(parts)

    def matching(
        self, column: str, value: str, columns: Sequence[str], groups: Iterable[int] | None = None
    ) -> list[dict[str, Any]]:
        """Return columns of the rows of which a column has a value, in some row groups or in all."""
        matches: list[dict[str, Any]] = []
        # By the column alone first, because the others may be long.
        for number in range(self.groups) if groups is None else groups:
            (table,) = self.tables([number], [column])
            rows = pc.indices_nonzero(pc.equal(table[column], value)).to_numpy() + self.cuts[number]
            if len(rows):
                leaves = [name for name in sorted(self.leaves) if name.split(".")[0] in columns]
                matches += self.at(rows.tolist(), leaves).to_pylist()
        return matches

    @contextmanager
    def _file(self, encoded: Sequence[str] = ()) -> Iterator[pq.ParquetFile]:
        with reading(self.path):
            if stamp(self.path) != self.stamp:
                raise InputError(f"{self.path}: was written to since it was opened; open the data again")
            with pq.ParquetFile(self.path, metadata=self.footer, read_dictionary=list(encoded)) as file:
                yield file


def open_shard(
    path: Path,
    label: str,
    check: Callable[[pa.Table], object],
    *,
    split: str = "",
    segment: str = "",
) -> Shard:
    """Open a Parquet file.

    Args:
        check: is given an empty table with the columns of the file, and raises `InputError` for wrong ones.

    Raises `InputError` for a file that is gone, damaged or of another kind.
    """
    with reading(path):
        state = stamp(path)
        footer = pq.read_metadata(path)
        check(footer.schema.to_arrow_schema().empty_table())
    return Shard(path, label, split, segment, footer, state)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever reading a file raises into an `InputError` that names the file."""
    try:
        yield
    except PairkitError:
        raise
    # Arrow's own errors of files have no `strerror`.
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.strerror:
            raise InputError(f"{path}: cannot be read: {error.strerror}; {ADVICE}") from error
        raise InputError(f"{path}: is damaged ({shortened(str(error))}); {ADVICE}") from error


def runs(shard: Shard, rows: int) -> Iterator[tuple[Shard, range]]:
    """Divide a file into runs of row groups of about so many rows; one without any is one run."""
    begin = 0
    for number in range(shard.groups):
        if shard.cuts[number + 1] - shard.cuts[begin] >= rows:
            yield shard, range(begin, number + 1)
            begin = number + 1
    if begin < shard.groups or not shard.groups:
        yield shard, range(begin, shard.groups)
