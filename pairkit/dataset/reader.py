"""A built data set as the trainer reads it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pairkit.dataset.layout import read_manifest
from pairkit.errors import InputError
from pairkit.files import sha256
from pairkit.schema import MANIFEST, check_sets

ROWS = 1000  # sets read at once


@dataclass(frozen=True)
class BuiltData:
    """A directory that `pairkit build` wrote, its manifest, and the manifest's sha256."""

    folder: Path
    manifest: dict[str, Any]
    digest: str

    def rows(self, split: str) -> int:
        """Sets of a split; 0 where there is no such split."""
        total = 0
        for path in self._files(split):
            with _reading(path):
                total += pq.read_metadata(path).num_rows
        return total

    def hashes(self, split: str) -> list[str]:
        """The sha256 of each file of a split, whatever the manifest says: a file may have been changed."""
        return [sha256(path) for path in self._files(split)]

    def tables(self, split: str, limit: int | None) -> Iterator[pa.Table]:
        """The first `limit` sets of a split (None = all), as tables of `schema.SETS`, checked."""
        left = limit
        for path in self._files(split):
            with _reading(path), pq.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=ROWS):
                    table = pa.Table.from_batches([batch])[:left]
                    if left is not None:
                        left -= table.num_rows
                    if table.num_rows:
                        yield check_sets(table, file=path)
                    if left == 0:
                        return

    def texts(self, split: str, limit: int | None) -> Iterator[str]:
        """Every text of a split, prompts and completions: what a tokenizer is trained on."""
        for table in self.tables(split, limit):
            for row in table.select(["prompt", "completions"]).to_pylist():
                yield from (message["content"] for message in row["prompt"])
                yield from (completion["text"] for completion in row["completions"])

    @property
    def rejected(self) -> str:
        """How rejected completions are chosen by the data set's recipe; "policy" if it does not say."""
        mine = self.manifest.get("recipe", {}).get("mine", {})
        return str(mine.get("rejected", "policy"))

    def _files(self, split: str) -> list[Path]:
        return sorted((self.folder / "data").glob(f"{split}-[0-9]*-of-*.parquet"))


def open_data(folder: str, split: str) -> BuiltData:
    """The built data set in `folder`, which must have that split. Raises `InputError`."""
    data = BuiltData(Path(folder), read_manifest(Path(folder)), sha256(Path(folder) / MANIFEST))
    if not data.rows(split):
        splits = {path.name.rsplit("-", 3)[0] for path in (data.folder / "data").glob("*.parquet")}
        raise InputError(f"{folder}: no split {split!r}; it has: {', '.join(sorted(splits)) or 'none'}")
    return data


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"{path}: the Parquet file is damaged ({error}); build the data set again"
        ) from error
