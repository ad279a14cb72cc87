"""Shards: the units of a build streamed straight into the files that will be published.

A shard is a folder: one file for each of data/train, data/test, pairs/*, verdicts/all and dropped/all that
has rows, the quarantined rows, the ids of the source's prompts, and `shard.json`, which describes its
content. It is written under a temporary name and becomes a shard by one rename, so that it is either
complete or absent. A build that stopped continues after its last shard.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from pairkit.dataset import histograms, parquet, views
from pairkit.dataset.histograms import Histograms
from pairkit.files import read_json, write_text
from pairkit.pipeline import pair_files
from pairkit.pipeline.unit import FinishedUnit
from pairkit.schema import DROPPED, QUARANTINE, SETS, VERDICTS, Occurrences

PUBLISHED = {
    "data/train": SETS,
    "data/test": SETS,
    "pairs/train": views.PAIRS,
    "pairs/test": views.PAIRS,
    "verdicts/all": VERDICTS,
    "dropped/all": DROPPED,
}
# Needed until publication: quarantine becomes one file, and `prompts` is for a build that continues.
KEPT = {"quarantine": QUARANTINE, "prompts": pa.schema([("prompt_id", pa.string())])}
SCHEMAS = PUBLISHED | KEPT
# A row group holds at least this many rows, so that a small split does not break into crumbs.
ROW_GROUP = 500
# A build that continues reads these and no rows: what is counted once is not counted again.
MARKER = "shard.json"
# In the marker, the hash of the rest of it.
_SEAL = "sha256"
T = TypeVar("T")


@dataclass
class Contents:
    """The content of a shard, or of several together. `next_unit` is the number of the unit after it.

    `first_unit` and `built`, the hash of what is built (`changes.hashed`), are None of several, and in shards
    of versions that did not write them.
    """

    next_unit: int
    first_unit: int | None = None
    last: bool = False
    built: str | None = None
    counts: Counter[str] = field(default_factory=Counter)
    histograms: Histograms = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, counts: Mapping[str, int], more: Histograms) -> None:
        # Without `files`, because several shards have files of the same names.
        self.counts.update(counts)
        histograms.add(self.histograms, more)

    def to_json(self) -> dict[str, Any]:
        return {
            "first_unit": self.first_unit,
            "next_unit": self.next_unit,
            "last": self.last,
            "built": self.built,
            "counts": dict(self.counts),
            "histograms": histograms.to_json(self.histograms),
            "files": self.files,
        }

    def nested(self) -> dict[str, dict[str, int]]:
        """Return `stage.what` -> number as stage -> what -> number, sorted by name."""
        nested: dict[str, dict[str, int]] = {}
        # Sorted, because a Counter has the order in which its reasons first occurred.
        for name, number in sorted(self.counts.items()):
            stage, _, what = name.partition(".")
            nested.setdefault(stage, {})[what] = number
        return nested


def read_contents(shard: Path) -> Contents:
    """Read `shard.json`. Raises `ValueError`, or `OSError`, `KeyError`, `TypeError`, for a damaged one."""
    content = read_json(shard / MARKER)
    # Counts have no other check: a changed digit in one would be published as it is.
    if content.pop(_SEAL, None) not in (None, _seal(content)):
        raise ValueError("its content was changed")
    totals = histograms.from_json(content.pop("histograms"))
    counts = content.pop("counts")
    numbers = (content["next_unit"], *counts.values())
    if not all(type(number) is int for number in numbers):
        raise TypeError("a count is not an integer")
    return Contents(counts=Counter(counts), histograms=totals, **content)


def _seal(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def published_names(contents: Sequence[Contents]) -> dict[tuple[int, str], str]:
    """Return the name that each file gets in the dataset, by the number of its shard and its name there."""
    names = {}
    for name in PUBLISHED:
        # Numbered over the shards that have rows, because a loader expects N files of `of-N`.
        with_rows = [number for number, shard in enumerate(contents) if name in shard.files]
        for position, number in enumerate(with_rows):
            names[number, name] = f"{name}-{position:05d}-of-{len(with_rows):05d}.parquet"
    return names


def file_of(shard: Path, name: str) -> Path:
    """Return the file of `name` ("data/train", ..., "quarantine", "prompts") in a shard."""
    return shard / f"{name.replace('/', '-')}.parquet"


class ShardWriter:
    """Writes one shard, which exists after `close`; a context that ends without `close` leaves none."""

    def __init__(self, folder: Path, first_unit: int, built: str) -> None:
        self.folder = folder
        self.bytes = 0
        self.contents = Contents(first_unit, first_unit, built=built)
        # A name that `BuildDirectory.shards` does not list, in the same folder, so that the rename is atomic.
        self._temporary = folder.with_name(f"{folder.name}.part")
        self._files: dict[str, _File] = {}

    def __enter__(self) -> ShardWriter:
        # A kill may have left one, with files of units that are written again now.
        shutil.rmtree(self._temporary, ignore_errors=True)
        self._temporary.mkdir(parents=True)
        # All names, because which of them get rows is known only at the end.
        self._files = {name: _File(file_of(self._temporary, name), SCHEMAS[name]) for name in SCHEMAS}
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            # Before the folder goes, because an open writer writes its footer when it is collected.
            file.abandon()
        # After `close` this name is gone, so nothing is removed.
        shutil.rmtree(self._temporary, ignore_errors=True)

    def add(self, finished: FinishedUnit, threads: ThreadPoolExecutor) -> None:
        """Write the next unit, all its files at the same time."""
        result = finished.unit.result
        # One row per set of the source, also if it was dropped since: occurrences count in the source.
        prompts = pa.table({"prompt_id": finished.unit.prompt_ids})
        tables = finished.tables | {"quarantine": result.quarantine, "prompts": prompts}
        # In threads, because compression takes the most time and releases the GIL.
        _in_threads(threads, [partial(self._files[name].add, table) for name, table in tables.items()])
        self.bytes += finished.bytes
        # Even if all of it went to quarantine: units are counted, not sets.
        self.contents.next_unit += 1
        self.contents.add(result.counts, finished.histograms)

    def close(self, *, last: bool, threads: ThreadPoolExecutor) -> Contents:
        """Complete the files and the marker, then rename; return the content of the shard."""
        described = _in_threads(threads, [file.close for file in self._files.values()])
        pairs = zip(self._files, described, strict=True)
        # A file is opened at its first row, so a split without rows has no file and no description.
        self.contents.files = {name: about for name, about in pairs if about is not None}
        self.contents.last = last
        # The marker after the files, because it holds their sizes and hashes.
        # Read back first, because numbers as keys become texts, which have another order.
        content = json.loads(json.dumps(self.contents.to_json()))
        # Without indentation, which Python's encoder writes many times slower: histograms have many numbers.
        write_text(self._temporary / MARKER, json.dumps(content | {_SEAL: _seal(content)}))
        # A kill before this line leaves a `.part`, which nobody reads; after it, a whole shard.
        os.replace(self._temporary, self.folder)
        return self.contents


def _in_threads(threads: ThreadPoolExecutor, calls: Sequence[Callable[[], T]]) -> list[T]:
    """Run calls in threads and return when all of them are done, even if one fails or SIGINT comes.

    Arrow's writers are not thread-safe, so nothing may still be writing when the caller closes the files.
    """
    futures = [threads.submit(call) for call in calls]
    try:
        return [future.result() for future in futures]
    finally:
        # Also after an error: the first failure must not free the caller while another call still writes.
        wait(futures)


class _File:
    """One file of a shard, opened at the first row."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path, self.schema = path, schema
        self._writer: pq.ParquetWriter | None = None
        self._waiting: list[pa.Table] = []

    def add(self, table: pa.Table) -> None:
        if table.num_rows and table.schema == views.CHAT_PAIRS != self.schema:
            self._make_chat()
        if self.schema == views.CHAT_PAIRS and table.schema == views.PAIRS:
            table = views.as_chat(table)
        self._waiting.append(table)
        # Whole units only, so that the cut depends on the rows and not on what the threads do.
        if sum(table.num_rows for table in self._waiting) >= ROW_GROUP:
            self._write()

    def _make_chat(self) -> None:
        """Write pairs as JSON messages from here on, and those of before again."""
        self.schema = views.CHAT_PAIRS
        self._waiting = [views.as_chat(table) for table in self._waiting]
        if self._writer is not None:
            self._writer.close()
            plain = self.path.rename(self.path.with_suffix(".plain"))
            self._writer = parquet.open_writer(self.path, self.schema)
            pair_files.rewritten(plain, self._writer)
            plain.unlink()

    def close(self) -> dict[str, Any] | None:
        """Complete the file and describe it; None if there was no row."""
        self._write()
        if self._writer is None:
            return None
        self._writer.close()
        # Now, because publication only renames, and the manifest must not be on disk before the data.
        with self.path.open("rb") as handle:
            os.fsync(handle.fileno())
        return parquet.describe(self.path)

    def abandon(self) -> None:
        # Without fsync and description: the folder is removed next.
        # After `close` it does nothing, because Arrow ignores a second one.
        if self._writer is not None:
            self._writer.close()

    def _write(self) -> None:
        rows = sum(table.num_rows for table in self._waiting)
        if rows:
            # At the first row, because an empty file would be an empty split to a loader.
            self._writer = self._writer or parquet.open_writer(self.path, self.schema)
            # Exactly one row group, because Arrow's default limit is not the same in all versions.
            tables = [table for table in self._waiting if table.num_rows]
            self._writer.write_table(pa.concat_tables(tables), row_group_size=rows)
        self._waiting = []


def together(contents: Iterable[Contents]) -> Contents:
    """Sum the contents of several shards, in order, without their `files`."""
    # Unit 0 without any shard, so a build from the start continues after nothing.
    total = Contents(0)
    for shard in contents:
        # Those of the last shard, because shards are read in order.
        total.next_unit, total.last = shard.next_unit, shard.last
        total.add(shard.counts, shard.histograms)
    return total


def occurrences(shards: Iterable[Path]) -> Occurrences:
    """Count how often each prompt occurred in the source up to the end of these shards."""
    counts = Occurrences()
    for shard in shards:
        # No file: the source refused every row of this shard before it had a prompt.
        if file_of(shard, "prompts").is_file():
            counts.add(pq.read_table(file_of(shard, "prompts"))["prompt_id"].to_pylist())
    return counts


def first_quarantined(folders: Iterable[Path]) -> str | None:
    """Describe where the first quarantined row was and what was wrong with it."""
    for shard in folders:
        if file_of(shard, "quarantine").is_file():
            with pq.ParquetFile(file_of(shard, "quarantine")) as file:
                # One row, because the file may be large and its texts long.
                first = next(file.iter_batches(batch_size=1)).to_pylist()[0]
            # A row that the source refused has no id.
            where = f"set {first['set_id']}: " if first["set_id"] else ""
            return f"{where}{first['detail']}"
    return None
