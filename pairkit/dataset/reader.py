"""A built dataset, read as Arrow tables."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pairkit.dataset.layout import read_manifest, was_edited
from pairkit.dataset.remote.on_store import local_folder
from pairkit.errors import InputError, RecipeError
from pairkit.files import sha256, undamaged
from pairkit.hashing import sha256_of
from pairkit.schema import MANIFEST, check_sets

if TYPE_CHECKING:
    from pairkit.mining.recipe import Rejected

ROWS = 1000  # sets read at once


@dataclass(frozen=True)
class BuiltData:
    """A directory that `pairkit build` wrote, its manifest, and the manifest's sha256."""

    folder: Path
    manifest: dict[str, Any]
    digest: str

    def __fspath__(self) -> str:
        """Return the directory, so that a dataset can be given wherever a path can."""
        return str(self.folder)

    @property
    def splits(self) -> list[str]:
        """The names of the splits that have files, sorted."""
        return sorted({split_of(path.name) for path in self._every_file()})

    def rows(self, split: str) -> int:
        """Count the sets of a split; 0 if the split does not exist."""
        total = 0
        for path in self._files(split):
            with _reading(path):
                # The footer alone, because counting must not read the data.
                total += pq.read_metadata(path).num_rows
        return total

    def files(self, *splits: str) -> list[Path]:
        """Return the data files of some splits."""
        return [path for split in splits for path in self._files(split)]

    def hashes(self, *splits: str) -> dict[str, str]:
        """Return the sha256 of each file of some splits, by its name in the manifest, as it is now."""
        paths = self.files(*splits)
        hashes = sha256_of(paths, f"checking {self.folder}")
        return {f"data/{path.name}": hashes[path] for path in paths}

    def changed(self, hashes: Mapping[str, str], *splits: str) -> list[str]:
        """Describe each file of some splits that is not the one that the manifest lists.

        Args:
            hashes: of the files as they are now, from `hashes`.
        """
        files = self.manifest.get("files")
        if not isinstance(files, dict) or not files or not all(map(_has_hash, files.values())):
            return [f"its {MANIFEST} lists no hashes of its files"]
        manifest_hashes = {
            name: about["sha256"]
            for name, about in files.items()
            if name.startswith("data/") and split_of(name) in splits
        }
        problems = [f"{MANIFEST} was changed"] if was_edited(self.manifest) else []
        for name in sorted({*manifest_hashes, *hashes}):
            if manifest_hashes.get(name) != hashes.get(name):
                what = "was changed" if name in manifest_hashes and name in hashes else "is missing"
                problems.append(f"{name} {what if name in manifest_hashes else 'was added'}")
        return problems

    def held(self, split: str) -> frozenset[str]:
        """Return what any set of a split holds beyond roles and contents, of `extras.EXTRAS`."""
        from pairkit.dataset import extras

        return extras.held(batch for path in self._files(split) for batch in _leaves(path, extras.LEAVES))

    def tables(self, split: str, limit: int | None = None) -> Iterator[pa.Table]:
        """Read the first `limit` sets of a split (None = all) as checked tables of `schema.SETS`.

        Raises, before the first table, `InputError` for an unknown split and `RecipeError` for a limit
        below 1.
        """
        # Outside the generator, whose body would not run before the first table is asked for.
        self._check_known(split)
        if limit is not None and limit < 1:
            raise RecipeError(f"limit {limit}: must be at least 1; None reads every set")
        return self._tables(split, limit)

    def _tables(self, split: str, limit: int | None) -> Iterator[pa.Table]:
        remaining = limit
        for path in self._files(split):
            with _reading(path), pq.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=ROWS):
                    # A slice to None is the whole table.
                    table = pa.Table.from_batches([batch])[:remaining]
                    if remaining is not None:
                        remaining -= table.num_rows
                    if table.num_rows:
                        yield check_sets(table, file=path)
                    if remaining == 0:
                        return

    def starts(self, split: str) -> npt.NDArray[np.int64]:
        """Return the number of the first set of each of `batches`, and the number of all sets."""
        sizes = [0]
        for path in self._files(split):
            with _reading(path):
                footer = pq.read_metadata(path)
            for group in range(footer.num_row_groups):
                rows = footer.row_group(group).num_rows
                sizes += [min(ROWS, rows - begin) for begin in range(0, rows, ROWS)]
        return np.cumsum(sizes)

    def batches(self, split: str, first: int = 0) -> Generator[pa.Table]:
        """Read a split from batch `first` on as checked tables, each within a row group of a file."""
        for path in self._files(split):
            with _reading(path), pq.ParquetFile(path) as file:
                for group in range(file.num_row_groups):
                    count = -(-file.metadata.row_group(group).num_rows // ROWS)
                    # Not read: only what is asked for is decoded.
                    if count <= first:
                        first -= count
                        continue
                    for number, batch in enumerate(file.iter_batches(ROWS, row_groups=[group])):
                        if number >= first:
                            yield check_sets(pa.Table.from_batches([batch]), file=path)
                    first = 0

    def pairs(
        self, split: str, limit: int | None = None, *, rejected: Rejected | None = None
    ) -> Iterator[pa.Table]:
        """Make the pairs of the first `limit` sets as tables of prompt, chosen and rejected conversations.

        Args:
            rejected: as in `mine.rejected`; None = that of the dataset's recipe, which gives its `pairs/`.
        """
        from pairkit.dataset import views  # polars: the trainer reads sets without it

        choice = rejected or self.rejected
        # Before the first table, which has to refuse a wrong split in the call itself.
        tables = self.tables(split, limit)
        chat = bool(self.held(split))
        return (views.pairs(table, rejected=choice, seed=self.seed, chat=chat) for table in tables)

    def texts(self, split: str, limit: int | None) -> Iterator[str]:
        """Read every text of a split, prompts and completions: what a tokenizer is trained on."""
        for table in self.tables(split, limit):
            yield from texts_of(table)

    @property
    def rejected(self) -> Rejected:
        """How the dataset's recipe chooses rejected completions; "policy" without a recipe."""
        with self._recipe() as recipe:
            # Nothing may be guessed about data without a recipe, so the trainer chooses.
            return recipe.get("mine", {}).get("rejected", "policy")  # type: ignore[no-any-return]

    @property
    def seed(self) -> int:
        """The seed of the dataset's recipe; 0 without one."""
        with self._recipe() as recipe:
            return int(recipe.get("seed", 0))

    @contextmanager
    def _recipe(self) -> Iterator[dict[str, Any]]:
        with undamaged(self.folder / MANIFEST, "build the dataset again"):
            yield self.manifest.get("recipe", {})

    def require(self, split: str) -> None:
        """Raise `InputError` if a split has no sets."""
        self._check_known(split)
        if not self.rows(split):
            names = ", ".join(name for name in self.splits if self.rows(name)) or "none"
            raise InputError(f"{self.folder}: the split {split!r} has no rows; splits with rows: {names}")

    def _check_known(self, split: str) -> None:
        if split not in self.splits:
            files = self.manifest.get("files")
            for name in files if isinstance(files, dict) else ():
                if name.startswith("data/") and split_of(name) == split:
                    raise InputError(
                        f"{self.folder / name}: is missing, though {MANIFEST} lists it; put it back, or "
                        "build the dataset again"
                    )
            names = ", ".join(self.splits) or "none"
            raise InputError(f"{self.folder}: no split {split!r}; it has: {names}")

    def _files(self, split: str) -> list[Path]:
        # By its name and not in the pattern, where a `*` would be all splits.
        return [path for path in self._every_file() if split_of(path.name) == split]

    def _every_file(self) -> list[Path]:
        # Sorted, because the order of the files is that of the rows; the pattern leaves temporary files out.
        return sorted((self.folder / "data").glob("*-[0-9]*-of-*.parquet"))


def texts_of(table: pa.Table) -> Iterator[str]:
    """Yield every text of a table of sets, prompts and completions."""
    for row in table.select(["prompt", "completions"]).to_pylist():
        for field, parts in (("content", row["prompt"]), ("text", row["completions"])):
            names = (field, "reasoning_content", "tool_calls")
            yield from (part[name] for part in parts for name in names if part[name])


def split_of(name: str) -> str:
    """Return the split of a file, given by its name in the manifest."""
    return Path(name).name.rsplit("-", 3)[0]


def _has_hash(about: Any) -> bool:
    return isinstance(about, dict) and isinstance(about.get("sha256"), str)


def load(place: str | os.PathLike[str]) -> BuiltData:
    """Open the built dataset in a folder, or at the address of a store. Raises as `local_folder` does."""
    folder = local_folder(place)
    return BuiltData(folder, read_manifest(folder), sha256(folder / MANIFEST))


def open_data(folder: str, split: str) -> BuiltData:
    """Open a built dataset as `load` does; it must have that split. Raises `InputError` if not."""
    data = load(folder)
    data.require(split)
    return data


def _leaves(path: Path, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Read those of some leaf columns that a file has: one of version 1 lacks what version 2 added."""
    with _reading(path), pq.ParquetFile(path) as file:
        existing = {file.schema.column(index).path for index in range(len(file.schema))}
        yield from file.iter_batches(batch_size=ROWS, columns=[name for name in names if name in existing])


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: the Parquet file is damaged ({error}); build the dataset again") from error
