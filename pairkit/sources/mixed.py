"""Several sources as one: their sets, mixed in an order that depends on nothing but the recipe and the input.

Every source is read twice: once to count its sets, by which the mixture is drawn, and once for the sets. Each
is read in its own order, one block at a time, so that the size of the mixture costs no memory but 16 bytes
per set.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairkit import mixture
from pairkit.arrow import repeat
from pairkit.errors import InputError, listed
from pairkit.mixture import Order, Part, Rows, Streams
from pairkit.progress import progress
from pairkit.schema import QUARANTINE, UNIDENTIFIED, StageResult, short_hash
from pairkit.sources import open_source
from pairkit.sources.base import MixedSource, Mixture, Opened, PartSize, Source

# Raw rows that are read at a time. The sets and their order do not depend on it.
READ = 1000
Value = TypeVar("Value")


@dataclass(frozen=True)
class _Counted:
    """A source that was read once: its name, and the raw rows and the sets of each of its blocks."""

    entry: MixedSource
    opened: Opened
    rows: Rows
    sets: Rows

    @property
    def starts(self) -> Rows:
        """The number of the first set of each block, and the number of all sets."""
        return np.concatenate([[0], np.cumsum(self.sets)]).astype(np.int64)

    def blocks(self, number: int) -> Generator[StageResult]:
        """Yield the blocks from `number` on, labeled with the name of the entry."""
        batches = self.opened.batches(start=number, rows=READ)
        try:
            for batch in batches:
                yield _labeled(batch, self.entry)
        finally:
            # At once: its file stays open otherwise, until the collector comes.
            if isinstance(batches, Generator):
                batches.close()


def open_mixture(recipe: Mixture) -> Opened:
    """Open all sources of a mixture, count their sets and draw the mixture.

    Raises what `open_source` does, and `InputError` for a source that cannot be read or has no set.
    """
    sources = _counted([(entry, open_source(entry.read)) for entry in recipe.sources])
    parts = [
        Part(each.entry.title, int(each.sets.sum()), each.entry.weight, each.entry.fraction or 1.0)
        for each in sources
    ]
    order = mixture.order(parts, recipe.seed)
    every = [(each.entry.title, each.opened) for each in sources]
    taken = np.bincount(order.part, minlength=len(parts)).tolist()
    return Opened(
        source=_together(every),
        files=[file for _, inputs in every for file in inputs.files],
        # Without weights and fractions, which are part of the recipe.
        fingerprint=short_hash([[name, inputs.fingerprint] for name, inputs in every]),
        total_rows=int(sum(each.rows.sum() for each in sources)),
        readings=_labels((name, inputs.readings) for name, inputs in every),
        stream=partial(_stream, sources, order),
        surveys=_labels((name, inputs.surveys) for name, inputs in every),
        hashes={path: digest for _, inputs in every for path, digest in inputs.hashes.items()},
        stamps={path: state for _, inputs in every for path, state in inputs.stamps.items()},
        parts=[PartSize(part.name, part.rows, number) for part, number in zip(parts, taken, strict=True)],
    )


def _counted(sources: Sequence[tuple[MixedSource, Opened]]) -> list[_Counted]:
    """Read every source once for the number of its sets. Raises `InputError` for one that has none."""
    totals = [opened.total_rows for _, opened in sources]
    total = None if None in totals else sum(number or 0 for number in totals)
    names = listed((entry.title for entry, _ in sources), 60)
    counted = []
    # One bar for all: of thousands, each would be a line.
    with progress(f"counting {names}", total, unit="rows") as advance:
        for entry, opened in sources:
            rows, sets = [], []
            for batch in opened.batches(rows=READ):
                rows.append(batch.counts["rows"])
                sets.append(batch.sets.num_rows)
                advance(rows[-1])
            counted.append(_Counted(entry, opened, np.array(rows, np.int64), np.array(sets, np.int64)))
            _check_some(counted[-1])
    return counted


def _check_some(source: _Counted) -> None:
    entry, files = source.entry, source.opened.files
    if not source.sets.sum():
        where = str(files[0]) if len(files) == 1 else entry.source.name
        raise InputError(
            f"source {entry.title!r} ({where}): no usable candidate set in {source.rows.sum():,} rows; "
            "`pairkit inspect` shows how the rows are read"
        )


def _together(every: Sequence[tuple[str, Opened]]) -> Source:
    """Describe all sources as one, for the card and for messages."""
    sources = [each.source for _, each in every]
    licenses = list(dict.fromkeys(source.license for source in sources))
    license_notes = [f"{name}: {each.source.license}" for name, each in every]
    return Source(
        name=listed((name for name, _ in every), separator=" + "),
        summary="several sources",
        open=sources[0].open,
        prompts=all(source.prompts for source in sources),
        license=licenses[0] if len(licenses) == 1 else "; ".join(license_notes),
        citation="\n".join(dict.fromkeys(source.citation for source in sources if source.citation)),
    )


def _labels(mappings: Iterable[tuple[str, Mapping[str, Value]]]) -> dict[str, Value]:
    """Name files by their source as well, because two sources may have files of one name."""
    return {f"{name}: {file}": value for name, mapping in mappings for file, value in mapping.items()}


def _labeled(batch: StageResult, entry: MixedSource) -> StageResult:
    sets, quarantine = batch.sets, batch.quarantine
    if entry.name is not None:
        index = sets.schema.get_field_index("source")
        sets = sets.set_column(
            index, UNIDENTIFIED.field("source"), repeat(entry.name, sets.num_rows, pa.string())
        )
    if quarantine.num_rows:
        index = QUARANTINE.get_field_index("detail")
        details = pc.binary_join_element_wise(entry.title, quarantine["detail"], ": ", null_handling="skip")
        quarantine = quarantine.set_column(index, QUARANTINE.field("detail"), details)
    return StageResult(sets, quarantine, counts=batch.counts)


def _stream(sources: Sequence[_Counted], order: Order, start: int, rows: int) -> Iterator[StageResult]:
    """Yield batches of `rows` sets of the mixture from batch `start` on."""
    before = start * rows
    streams = Streams(lambda part, block: sources[part].blocks(block))
    # Of each source, the numbers of its sets in the mixture, and how many of them come before.
    numbers = np.argsort(order.part, kind="stable")
    own = np.split(order.row[numbers], np.cumsum(np.bincount(order.part, minlength=len(sources)))[:-1])
    done = np.bincount(order.part[:before], minlength=len(sources)).tolist()
    readers = [
        _Reader(part, each, streams, rows_of, position)
        for part, (each, rows_of, position) in enumerate(zip(sources, own, done, strict=True))
    ]
    try:
        yield from _mixed(readers, order, before, rows)
    finally:
        streams.close_all()


def _mixed(readers: Sequence[_Reader], order: Order, before: int, rows: int) -> Iterator[StageResult]:
    for begin in range(before, len(order), rows):
        part = order.part[begin : begin + rows]
        ends = begin + rows >= len(order)
        wanted = np.bincount(part, minlength=len(readers)).tolist()
        # Those alone that have a set here: there may be thousands of others.
        pieces = [
            reader.take(number, ends)
            for reader, number in zip(readers, wanted, strict=True)
            if number or ends
        ]
        pool = pa.concat_tables([each.sets for each in pieces])
        # A stable sort of the parts lists the sets as `pool` has them; its inverse puts them in order.
        places = np.empty(len(part), np.int64)
        places[np.argsort(part, kind="stable")] = np.arange(len(part))
        counts: dict[str, int] = {}
        for name, number in (item for each in pieces for item in each.counts.items()):
            counts[name] = counts.get(name, 0) + number
        quarantine = pa.concat_tables([each.quarantine for each in pieces])
        yield StageResult(pool.take(pa.array(places)), quarantine, counts=counts)


class _Reader:
    """One source of a mixture, read forward.

    Args:
        part: its number.
        streams: the blocks of all sources.
        rows: the numbers of its sets that are taken, ascending.
        position: how many of those were taken before.
    """

    def __init__(
        self, part: int, source: _Counted, streams: Streams[StageResult], rows: Rows, position: int
    ) -> None:
        self._part, self._streams = part, streams
        self._source, self._rows, self._position = source, rows, position
        self._starts = source.starts
        # Blocks up to that of the last set that was taken have been counted before.
        self._counted_blocks = self._block_of(int(rows[position - 1])) + 1 if position else 0
        # The block that was read last, while sets of it are still to be taken.
        self._last: tuple[int, StageResult] | None = None

    def take(self, number: int, ends: bool) -> StageResult:
        """Return the next sets, with quarantine and counts of the blocks that were read for them first.

        Args:
            ends: whether nothing follows: the other blocks are read too, because rows that cannot be used
                are reported even where no set after them is taken.
        """
        rows = self._rows[self._position : self._position + number]
        self._position += number
        pieces: list[pa.Table] = []
        quarantine = [QUARANTINE.empty_table()]
        counts = {
            "rows": 0,
            "rows_quarantined": 0,
            "not_drawn": 0,
            f"sets:{self._source.entry.title}": number,
        }
        blocks = [self._block_of(int(row)) for row in rows[[0, -1]]] if number else []
        last = len(self._source.sets) - 1 if ends else max(blocks, default=-1)
        first = min([*blocks, self._counted_blocks]) if number else self._counted_blocks
        for block in range(first, last + 1):
            batch = self._read(block)
            begin, end = self._starts[block : block + 2]
            within = rows[(rows >= begin) & (rows < end)] - begin
            if len(within):
                pieces.append(batch.sets.take(pa.array(within)))
            if block < self._counted_blocks:
                continue
            self._counted_blocks = block + 1
            quarantine.append(batch.quarantine)
            counts["rows"] += batch.counts["rows"]
            counts["rows_quarantined"] += batch.counts["rows_quarantined"]
            drawn_rows = int(np.diff(np.searchsorted(self._rows, [begin, end]))[0])
            counts["not_drawn"] += batch.sets.num_rows - drawn_rows
        if self._last is not None and self._is_done(self._last[0]):
            self._last = None
        sets = pa.concat_tables([UNIDENTIFIED.empty_table(), *pieces])
        return StageResult(sets, pa.concat_tables(quarantine), counts=counts)

    def _is_done(self, block: int) -> bool:
        """Return whether no further set of a block is taken."""
        return self._position == len(self._rows) or self._rows[self._position] >= self._starts[block + 1]

    def _block_of(self, row: int) -> int:
        return int(np.searchsorted(self._starts, row, side="right")) - 1

    def _read(self, block: int) -> StageResult:
        """Return a block: the one that was read last, or a later one."""
        if self._last is None or self._last[0] != block:
            result = self._streams.item(self._part, block)
            # What was drawn would be other sets otherwise.
            if result is None or result.sets.num_rows != self._source.sets[block]:
                raise _changed(self._source)
            self._last = block, result
            if block + 1 == len(self._source.sets):
                self._streams.close(self._part)
        return self._last[1]


def _changed(source: _Counted) -> InputError:
    return InputError(
        f"source {source.entry.title!r}: has other rows than when it was counted; nothing was published. "
        "Run the same command again, once nobody writes to the input"
    )
