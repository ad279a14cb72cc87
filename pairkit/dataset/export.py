"""`pairkit export`: a split of a built dataset in the file format of another library.

Read, converted and written table by table. Each set is in the file or counted with the reason it is not.
A manifest next to the file, written before the file appears, lists what it was made from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.dataset import reshape, views
from pairkit.dataset.export_output import no_empty_directories, output
from pairkit.dataset.formats import FORMATS, Format
from pairkit.dataset.parquet import open_writer
from pairkit.dataset.reader import BuiltData, load
from pairkit.errors import InputError, RecipeError, unknown
from pairkit.files import OnExisting, replacing, stoppable
from pairkit.mining.recipe import Rejected
from pairkit.progress import progress

RUNS = Path("runs/export")
# Pairs in another layout; the other formats are views of the sets themselves.
_OTHERS = {"trl": views.PAIRS, "unpaired": views.UNPAIRED, "nectar": views.NECTAR}
# A format is a function of `reshape` and the schema of the same name in capitals.
_PAIRS: dict[str, tuple[Callable[[pa.RecordBatch], pa.RecordBatch], pa.Schema]] = {
    name: (getattr(reshape, name), getattr(reshape, name.upper())) for name in FORMATS if name not in _OTHERS
}
SCHEMAS = {name: schema for name, (_, schema) in _PAIRS.items()} | _OTHERS


@dataclass(frozen=True)
class Exported:
    """What an export wrote, or would write.

    sets      read from the split.
    rows      of the file.
    left_out  sets that made no row, by reason.
    """

    file: Path
    sets: int
    rows: int
    left_out: Mapping[str, int]


def export(
    folder: Path,
    name: str,
    out: Path | None = None,
    *,
    split: str = "train",
    limit: int | None = None,
    rejected: Rejected | None = None,
    on_existing: OnExisting = "resume",
    dry_run: bool = False,
) -> Exported:
    """Write a split of the built dataset in `folder` in the format `name`, of `FORMATS`.

    Args:
        out: the file, which ends as the format's files do, or a directory, which gets one file per split,
            all of the same settings; None = a directory under runs/export.
        limit: only the first N sets; None = all.
        rejected: how the rejected completion of a pair is chosen; None = that of the dataset's recipe.
        on_existing: a complete export of the same settings is kept with "resume"; "delete" replaces this
            split and leaves the others.
        dry_run: check `out`, convert everything and count, but write nothing.

    Raises:
        RecipeError: an unknown format or `rejected`, a `limit` below 1, or an `out` with the suffix of
            another format.
        InputError: a dataset that cannot be read, has no such split, or no set in it that makes a row.
        ExistingOutputError: `out` holds something else.
        OutputError: `out` cannot be written.
    """
    if name not in FORMATS:
        raise unknown("format", name, FORMATS)
    # Refused and not ignored, because it would have no effect.
    if rejected and FORMATS[name].made_of != "pairs":
        raise RecipeError(f"--rejected {rejected}: the format {name} has no pairs; leave it out")
    data = load(folder)
    data.require(split)
    target = output(out or _default(folder, name, split), name, split)
    settings = {
        "as": name,
        "split": split,
        "limit": limit,
        "rejected": (rejected or data.rejected) if FORMATS[name].made_of == "pairs" else None,
        "seed": data.seed,
        "dataset": data.digest,
    }
    tally = _Tally(data, settings)
    file = target.file
    with stoppable(file, lambda: f"{file}: stopped; the same command exports it again"):
        complete = target.admit(settings, on_existing)
        if dry_run:
            # Everything is converted, because a dry run has to find what would stop the export.
            for _ in tally.tables():
                pass
            return tally.exported(file)
        if complete:
            return Exported(file, **complete["counts"])
        with no_empty_directories(file.parent), replacing(file) as temporary:
            with _writer(temporary, SCHEMAS[name], FORMATS[name]) as write:
                for table in tally.tables():
                    write(table)
            # Before the file has its name, because a file alone could not be told from a foreign one.
            target.record(settings, data.manifest.get("recipe_hash"), tally.counts(), temporary)
    return tally.exported(file)


def describe(exported: Exported, *, dry_run: bool) -> str:
    """Describe an export in a few lines for a person at a terminal."""
    left_out = _listed(exported.left_out) or "none"
    counts = f"{exported.sets:,} sets in, {exported.rows:,} rows out; sets left out: {left_out}"
    return f"{counts}\n{'nothing was written (--dry-run)' if dry_run else exported.file}"


def _listed(left_out: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in sorted(left_out.items()))


def rows(sets: pa.Table, name: str, *, rejected: Rejected = "policy", seed: int = 0) -> pa.Table:
    """Convert candidate sets to the rows of a format; sets that make no pair give none, but for nectar."""
    if name == "nectar":
        return views.nectar(sets)
    if name == "unpaired":
        return views.unpaired(sets)
    pairs = views.pairs(sets, rejected=rejected, seed=seed)
    return pairs if name == "trl" else reshape.by_batch(pairs, *_PAIRS[name])


class _Tally:
    """The tables of an export, and the counts of those that have been read so far."""

    def __init__(self, data: BuiltData, settings: Mapping[str, Any]) -> None:
        self._data, self._settings = data, settings
        # Opened here, because a wrong limit has to be refused before anything is written.
        self._tables = data.tables(settings["split"], settings["limit"])
        self._sets = self._rows = 0
        self._left_out: Counter[str] = Counter()

    def tables(self) -> Iterator[pa.Table]:
        """Convert the split table by table."""
        settings = self._settings
        split, limit = settings["split"], settings["limit"]
        total = min(self._data.rows(split), limit or self._data.rows(split))
        choice = {"rejected": settings["rejected"] or "policy", "seed": settings["seed"]}
        with progress(f"exporting {self._data.folder}", total, unit="sets") as advance:
            for sets in self._tables:
                reasons = _reasons(sets, FORMATS[settings["as"]])
                table = rows(sets.filter(reasons.is_null()), settings["as"], **choice)
                self._left_out.update(reasons.drop_null().to_pylist())
                self._sets += sets.num_rows
                self._rows += table.num_rows
                yield table
                advance(sets.num_rows)
        self._check()

    def _check(self) -> None:
        """Check that every set is in the file or has a reason, and that the file has rows."""
        used = self._sets - self._left_out.total()
        # Only these make several rows of a set, so that a lower or higher number is a defect elsewhere.
        several = self._settings["rejected"] == "all" or self._settings["as"] == "unpaired"
        if self._rows < used or (self._rows > used and not several):
            raise RuntimeError(f"{used} sets made {self._rows} rows: {self._settings}")
        if not self._rows:
            split, name = self._settings["split"], self._settings["as"]
            raise InputError(
                f"{self._data.folder}: no set of the split {split!r} makes a row of the format {name}; "
                f"sets left out: {_listed(self._left_out)}; choose another split, or rank the completions"
            )

    def exported(self, file: Path) -> Exported:
        return Exported(file, **self.counts())

    def counts(self) -> dict[str, Any]:
        return {"sets": self._sets, "rows": self._rows, "left_out": dict(sorted(self._left_out.items()))}


def _reasons(sets: pa.Table, made: Format) -> pa.ChunkedArray:
    """Tell for each set why it makes no row; null where it makes one."""
    chunks = []
    for batch in sets.to_batches():
        reasons = pa.nulls(batch.num_rows, pa.string())
        if made.made_of != "sets":
            reasons = views.without_pair(batch, labels=made.made_of == "completions")
        if made.alternates:
            turns = pc.if_else(reshape.alternates(batch), None, "turns_do_not_alternate")
            # The first reason counts: a set is left out once.
            reasons = pc.coalesce(reasons, turns.cast(pa.string()))
        chunks.append(reasons)
    return pa.chunked_array(chunks, pa.string())


@contextmanager
def _writer(path: Path, schema: pa.Schema, made: Format) -> Iterator[Callable[[pa.Table], None]]:
    """Open a file of the format's kind; yields what appends a table to it."""
    if made.suffix == ".parquet":
        with open_writer(path, schema) as parquet:
            yield parquet.write_table
        return
    with path.open("wb") as lines:

        def write(table: pa.Table) -> None:
            # polars, because pyarrow reads JSON lines but writes none.
            frame = pl.from_arrow(table)
            assert isinstance(frame, pl.DataFrame)
            frame.write_ndjson(lines)

        yield write


def _default(folder: Path, name: str, split: str) -> Path:
    suffix = "" if split == "train" else f"-{split}"
    return RUNS / f"{folder.resolve().name}-{name}{suffix}"
