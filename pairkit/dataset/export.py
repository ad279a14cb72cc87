"""`pairkit export`: a split of a built dataset in the file format of another library.

Read, converted and written table by table. Each set is in the file or counted with the reason it is not.
A manifest next to the file, written before the file appears, lists what it was made from.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pairkit.dataset import chat_json, extras, left_out, reshape, views
from pairkit.dataset.export_output import output
from pairkit.dataset.formats import FORMATS, Format
from pairkit.dataset.nectar import NECTAR, nectar
from pairkit.dataset.parquet import open_writer
from pairkit.dataset.reader import BuiltData, load
from pairkit.errors import InputError, RecipeError, unknown
from pairkit.files import OnExisting, replacing, stoppable
from pairkit.mining.recipe import Rejected
from pairkit.progress import progress

RUNS = Path("runs/export")
# Views of the sets themselves; the other formats are pairs in another layout.
_VIEWS = {"trl": views.PAIRS, "unpaired": views.UNPAIRED, "nectar": NECTAR}
_CHAT_VIEWS = {"trl": views.CHAT_PAIRS, "unpaired": views.CHAT_UNPAIRED}
Layout = tuple[Callable[[pa.RecordBatch], pa.RecordBatch], pa.Schema]
# A layout is a function of `reshape` and the schema of the same name in capitals.
_LAYOUTS: dict[str, Layout] = {
    name: (getattr(reshape, name), getattr(reshape, name.upper())) for name in FORMATS if name not in _VIEWS
}
_CHAT_LAYOUTS: dict[str, Layout] = {
    name: (getattr(reshape, f"chat_{name}"), getattr(reshape, f"CHAT_{name.upper()}"))
    for name, row_format in FORMATS.items()
    if row_format.carries and name not in _VIEWS
}
SCHEMAS = {name: schema for name, (_, schema) in _LAYOUTS.items()} | _VIEWS
# Of data with tools, tool calls and the like, where the consumer has a place for them.
CHAT_SCHEMAS = {name: schema for name, (_, schema) in _CHAT_LAYOUTS.items()} | _CHAT_VIEWS


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
    folder: str | os.PathLike[str],
    name: str,
    out: Path | None = None,
    *,
    split: str = "train",
    limit: int | None = None,
    rejected: Rejected | None = None,
    on_existing: OnExisting = "resume",
    dry_run: bool = False,
) -> Exported:
    """Write a split of a built dataset in the format `name`, of `FORMATS`.

    Args:
        folder: the dataset's, or the address of one on a store.
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
    target = output(out or _default(data.folder, name, split), name, split)
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
        with target.owned():
            # Asked again, because another export may have ended while this one came to the lock.
            if complete := target.admit(settings, on_existing):
                return Exported(file, **complete["counts"])
            with replacing(file) as temporary:
                with _writer(temporary, tally.schema, FORMATS[name]) as write:
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


def rows(
    sets: pa.Table, name: str, *, rejected: Rejected = "policy", seed: int = 0, chat: bool | None = None
) -> pa.Table:
    """Convert candidate sets to the rows of a format, whose schema is `schema_of(name, chat=chat)`.

    Sets that the format leaves out give no row: see `left_out`. `chat` is as in `views.pairs`.
    """
    sets = sets.filter(left_out.reasons(sets, name).is_null())
    chat = bool(extras.held(sets.to_batches())) if chat is None else chat
    return _made(sets, name, rejected=rejected, seed=seed, chat=chat)


def _made(sets: pa.Table, name: str, *, rejected: Rejected, seed: int, chat: bool) -> pa.Table:
    """Convert sets of which none is left out."""
    if name == "nectar":
        return nectar(sets)
    if name == "unpaired":
        return views.unpaired(sets, chat=chat)
    if name == "trl":
        return views.pairs(sets, rejected=rejected, seed=seed, chat=chat)
    full = views.full_pairs(sets, rejected=rejected, seed=seed)
    return reshape.by_batch(full, *(_CHAT_LAYOUTS.get(name, _LAYOUTS[name]) if chat else _LAYOUTS[name]))


def schema_of(name: str, *, chat: bool) -> pa.Schema:
    """Return the schema of a format's rows, for data that hold tools and the like (`chat`) or plain chats."""
    return CHAT_SCHEMAS.get(name, SCHEMAS[name]) if chat else SCHEMAS[name]


class _Tally:
    """The tables of an export, and the counts of those that have been read so far."""

    def __init__(self, data: BuiltData, settings: Mapping[str, Any]) -> None:
        self._data, self._settings = data, settings
        # Of the whole split, because all tables of a file have one schema.
        self._chat = bool(data.held(settings["split"]))
        self.schema = schema_of(settings["as"], chat=self._chat)
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
        choice["chat"] = self._chat
        with progress(f"exporting {self._data.folder}", total, unit="sets") as advance:
            for sets in self._tables:
                reasons = left_out.reasons(sets, settings["as"])
                table = _made(sets.filter(reasons.is_null()), settings["as"], **choice)
                self._left_out.update(reasons.drop_null().to_pylist())
                self._sets += sets.num_rows
                self._rows += table.num_rows
                yield table
                advance(sets.num_rows)
        self._check()

    def _check(self) -> None:
        """Check that every set is in the file or has a reason, and that the file has rows."""
        sets = self._sets - self._left_out.total()
        # Only these make several rows of a set, so that a lower or higher number is a defect elsewhere.
        several = self._settings["rejected"] == "all" or self._settings["as"] == "unpaired"
        if self._rows < sets or (self._rows > sets and not several):
            raise RuntimeError(f"{sets} sets made {self._rows} rows: {self._settings}")
        if not self._rows:
            split, name = self._settings["split"], self._settings["as"]
            raise InputError(
                f"{self._data.folder}: no set of the split {split!r} makes a row of the format {name}; "
                f"sets left out: {_listed(self._left_out)}; choose another split or format, or rank"
            )

    def exported(self, file: Path) -> Exported:
        return Exported(file, **self.counts())

    def counts(self) -> dict[str, Any]:
        return {"sets": self._sets, "rows": self._rows, "left_out": dict(sorted(self._left_out.items()))}


@contextmanager
def _writer(path: Path, schema: pa.Schema, row_format: Format) -> Iterator[Callable[[pa.Table], None]]:
    """Open a file of the format's kind; yields what appends a table to it."""
    if row_format.suffix == ".parquet":
        with open_writer(path, schema) as parquet:
            yield parquet.write_table
        return
    with path.open("wb") as lines:

        def write(table: pa.Table) -> None:
            # polars, because pyarrow reads JSON lines but writes none.
            texts = chat_json.lines(table)
            lines.write("".join(f"{line}\n" for line in texts).encode())

        yield write


def _default(folder: Path, name: str, split: str) -> Path:
    suffix = "" if split == "train" else f"-{split}"
    return RUNS / f"{folder.resolve().name}-{name}{suffix}"
