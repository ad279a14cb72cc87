"""`pairkit export`: a split of a built dataset in the file format of another library.

Read, converted and written table by table. Each set is in the file or counted with the reason it is not.
A manifest next to the file, written before the file appears, lists what it was made from.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pairkit import __version__
from pairkit.dataset import reshape, views
from pairkit.dataset.formats import FORMATS, Format
from pairkit.dataset.layout import EXPORT
from pairkit.dataset.parquet import open_writer
from pairkit.dataset.reader import BuiltData, load
from pairkit.errors import OutputError, RecipeError, unknown
from pairkit.files import OnExisting, admit, names_in, partial, replacing, sha256, stoppable, write_json
from pairkit.mining.recipe import Rejected
from pairkit.progress import progress
from pairkit.schema import MANIFEST

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
        out: the file, which ends as the format's files do, or a directory, which gets a file named by the
            split; None = a directory under runs/export.
        limit: only the first N sets; None = all.
        rejected: how the rejected completion of a pair is chosen; None = that of the dataset's recipe.
        on_existing: a complete export of the same settings is kept with "resume".
        dry_run: convert everything and count, but write nothing.

    Raises:
        RecipeError: an unknown format or `rejected`, or an `out` with the suffix of another format.
        InputError: a dataset that cannot be read, or has no such split.
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
    target = _target(out or _default(folder, name, split), FORMATS[name], name, split)
    settings = {
        "as": name,
        "split": split,
        "limit": limit,
        "rejected": (rejected or data.rejected) if FORMATS[name].made_of == "pairs" else None,
        "seed": data.seed,
        "dataset": data.digest,
    }
    tally = _Tally(data, settings)
    # Everything is converted, because a dry run has to find what would stop the export.
    if dry_run:
        # Only for the counts, table by table.
        for _ in tally.tables():
            pass
        return tally.exported(target)
    manifest = _manifest_of(target, out)
    with stoppable(target, lambda: f"{target}: stopped; the same command exports it again"):
        done = _claim(target, manifest, settings, on_existing)
        if done is not None:
            return done
        with replacing(target) as temporary:
            with _writer(temporary, SCHEMAS[name], FORMATS[name]) as write:
                for table in tally.tables():
                    write(table)
            # Before the file has its name, because a file alone could not be told from a foreign one.
            write_json(manifest, tally.manifest(target.name, temporary))
    return tally.exported(target)


def describe(exported: Exported, *, dry_run: bool) -> str:
    """Describe an export in a few lines for a person at a terminal."""
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(exported.left_out.items()))
    counts = f"{exported.sets:,} sets in, {exported.rows:,} rows out; sets left out: {reasons or 'none'}"
    return f"{counts}\n{'nothing was written (--dry-run)' if dry_run else exported.file}"


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
        self._sets = self._rows = 0
        self._left_out: Counter[str] = Counter()

    def tables(self) -> Iterator[pa.Table]:
        """Convert the split table by table."""
        settings = self._settings
        split, limit = settings["split"], settings["limit"]
        total = min(self._data.rows(split), limit or self._data.rows(split))
        choice = {"rejected": settings["rejected"] or "policy", "seed": settings["seed"]}
        with progress(f"exporting {self._data.folder}", total, unit="sets") as advance:
            for sets in self._data.tables(split, limit):
                reasons = _reasons(sets, FORMATS[settings["as"]])
                table = rows(sets.filter(reasons.is_null()), settings["as"], **choice)
                self._left_out.update(reasons.drop_null().to_pylist())
                self._sets += sets.num_rows
                self._rows += table.num_rows
                yield table
                advance(sets.num_rows)
        self._check()

    def _check(self) -> None:
        """Every set is in the file or has a reason."""
        used = self._sets - self._left_out.total()
        # Only these make several rows of a set, so that a lower or higher number is a defect elsewhere.
        several = self._settings["rejected"] == "all" or self._settings["as"] == "unpaired"
        if self._rows < used or (self._rows > used and not several):
            raise RuntimeError(f"{used} sets made {self._rows} rows: {self._settings}")

    def exported(self, file: Path) -> Exported:
        return Exported(file, self._sets, self._rows, dict(self._left_out))

    def manifest(self, name: str, content: Path) -> dict[str, Any]:
        """Describe the file `name`, whose content is in `content`."""
        recipe_hash = self._data.manifest.get("recipe_hash")
        counts = {"sets": self._sets, "rows": self._rows, "left_out": dict(sorted(self._left_out.items()))}
        return {
            "pairkit": __version__,
            EXPORT: dict(self._settings),
            "recipe_hash": recipe_hash,
            "counts": counts,
            "files": {name: {"bytes": content.stat().st_size, "sha256": sha256(content)}},
        }


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


def _target(out: Path, made: Format, name: str, split: str) -> Path:
    # Anything else is a directory, also a name with a dot, such as run.v2.
    if out.suffix not in (".parquet", ".jsonl", ".json"):
        return out / f"{split}{made.suffix}"
    if out.suffix != made.suffix:
        raise RecipeError(f"--out {out}: the format {name} is written as *{made.suffix}")
    return out


def _manifest_of(target: Path, out: Path | None) -> Path:
    """The manifest of an export: in a directory of its own, or named after the file that was asked for."""
    return target.with_name(f"{target.name}.{MANIFEST}" if target == out else MANIFEST)


def _claim(
    target: Path, manifest: Path, settings: Mapping[str, Any], on_existing: OnExisting
) -> Exported | None:
    """Make `target` this export's. Returns the export that is complete there already, else None."""
    alone = target.with_name(f"{target.name}.{MANIFEST}") == manifest
    out = target if alone else target.parent
    before = _read_export(manifest)
    # Only files that a kill has left, so the directory is as good as empty.
    if before is None and not alone and not names_in(out) - {partial(target).name, partial(manifest).name}:
        return None

    def differences() -> list[str]:
        assert before is not None
        old = before[EXPORT]
        # Without the digest of the dataset: a hash tells nothing, so it is put in words below.
        keys = [key for key in settings if key != "dataset" and old.get(key) != settings[key]]
        changes = [f"{key} {old.get(key)!r} -> {settings[key]!r}" for key in keys]
        return changes + (["the dataset was built again"] if old["dataset"] != settings["dataset"] else [])

    todo = admit(out, on_existing, holds="an export" if before else None, differences=differences)
    if before is None or todo == "new":
        return None
    # By its hash, because the file may have been changed since.
    if todo == "resume" and _complete(target, before):
        counts = before["counts"]
        return Exported(target, counts["sets"], counts["rows"], counts["left_out"])
    for name in before["files"]:  # another format's file may have another name
        (target.parent / name).unlink(missing_ok=True)
    return None


def _read_export(manifest: Path) -> dict[str, Any] | None:
    """Read an export's manifest; None where there is none."""
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
    # A pairkit.json that is no JSON is somebody else's: `admit` then refuses the directory.
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except OSError as error:
        raise OutputError(f"{manifest}: cannot be read: {error.strerror}") from error
    complete = isinstance(content, dict) and {EXPORT, "counts", "files"} <= content.keys()
    return content if complete else None


def _complete(target: Path, manifest: Mapping[str, Any]) -> bool:
    description = manifest["files"].get(target.name)
    return bool(description and target.is_file() and sha256(target) == description["sha256"])
