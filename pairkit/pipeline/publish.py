"""Publication: closed shards become a dataset. Each step can be repeated, and the manifest comes last."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pairkit.dataset import card, parquet
from pairkit.dataset.card_settings import CardSettings
from pairkit.dataset.layout import CARD, DECONTAMINATION_FILE, LOG, QUARANTINE_FILE, sealed
from pairkit.engines.sent import sent_by_build
from pairkit.files import file_record, replacing, write_json, write_text
from pairkit.masking import masked
from pairkit.pipeline import closed_shards, pair_files, readings, shards
from pairkit.pipeline.changes import Identity
from pairkit.pipeline.directory import BuildDirectory
from pairkit.pipeline.inputs import Inputs
from pairkit.pipeline.shards import Contents
from pairkit.progress import shown
from pairkit.schema import MANIFEST, QUARANTINE, SCHEMA_VERSION
from pairkit.sources import Opened


def publish(
    directory: BuildDirectory, identity: Identity, opened: Opened, inputs: Inputs, settings: CardSettings
) -> dict[str, Any]:
    """Move the shards' files into place, write quarantine, card and manifest; return the manifest.

    Raises `InputError` if the input has changed, `ExistingOutputError` if what the build wrote has.
    """
    # Before anything moves, because rows of changed files are of no use.
    files_read = inputs.described()
    contents = closed_shards.verified(directory)
    folders = directory.shards()
    total = shards.together(contents)
    files = _move(directory.out, folders, contents, chat=pair_files.has_chat(total.counts))
    # Also without rows, so that a reader need not guess whether any were lost.
    files[QUARANTINE_FILE] = _write_quarantine(directory.out / QUARANTINE_FILE, folders)
    files |= _copy_report(directory)
    # Before the manifest exists, because a dataset that lost rows must never look complete.
    _check_rows(directory.out, files, total)
    manifest = {
        "schema_version": SCHEMA_VERSION,
        **identity,
        "input": {
            **identity["input"],
            "files": files_read,
        },
        **_sent(identity, total),
        **({"readings": readings.records(opened.readings)} if opened.readings else {}),
        "counts": total.nested(),
        # Absent where nothing is set, because an empty value would be a difference to earlier builds.
        **({"card": masked(settings.given())} if settings.given() else {}),
        "files": files,
    }
    # The card is rendered without itself in `files`, because it cannot contain its own hash.
    text = card.render(directory.out, manifest, opened.source, total.histograms)
    write_text(directory.out / CARD, shown(masked(text)))
    files[CARD] = file_record(directory.out / CARD)
    # Copied, because a stop before the manifest needs the log where it is. It is not in `files`, because
    # its times differ between builds whose manifests are equal.
    log = directory.build / LOG
    with replacing(directory.out / LOG) as temporary:
        # Empty if somebody deleted it: no row depends on it, and no repetition would bring it back.
        temporary.write_bytes(log.read_bytes() if log.exists() else b"")
    # Last, because from here on the directory counts as complete, and `.build` may go.
    manifest = sealed(manifest)
    write_json(directory.out / MANIFEST, manifest)
    return manifest


def _sent(identity: Identity, total: Contents) -> dict[str, Any]:
    # Absent where the recipe says it all, because an empty value would be a difference to earlier builds.
    fields = sent_by_build(identity["recipe"], total.nested())
    return {"sent": fields} if fields else {}


def _move(out: Path, folders: Sequence[Path], contents: Sequence[Contents], *, chat: bool) -> dict[str, Any]:
    """Rename every file that has not been moved yet; return all of them by their published names.

    With `chat`, all pairs get the schema of those that hold tools and the like.
    """
    moved: dict[str, Any] = {}
    for (number, name), published in shards.published_names(contents).items():
        part, target = shards.file_of(folders[number], name), out / published
        # exist_ok, because a publication may have been stopped right after it.
        target.parent.mkdir(exist_ok=True)
        moved[published] = contents[number].files[name]
        if chat and name.startswith("pairs/") and pair_files.is_plain(part, target):
            # Written from the part, which stays: its hash is known, and that of a rewritten file is not.
            moved[published] = pair_files.made_chat(part, target)
        # Missing if a publication that was stopped has moved it; the marker still describes it.
        elif part.exists():
            os.replace(part, target)
    return moved


def _copy_report(directory: BuildDirectory) -> dict[str, Any]:
    """Copy the prepass's report of shared texts, if it made one; it stays there for a repetition."""
    report, target = directory.prepass_folder / DECONTAMINATION_FILE, directory.out / DECONTAMINATION_FILE
    if not report.exists():
        return {}
    with replacing(target) as temporary:
        shutil.copyfile(report, temporary)
    return {DECONTAMINATION_FILE: parquet.describe(target)}


def _write_quarantine(path: Path, folders: Sequence[Path]) -> dict[str, Any]:
    # Not renamed, because it is one file of many parts; they stay until `finish`, for a repetition.
    with replacing(path) as temporary, parquet.open_writer(temporary, QUARANTINE) as writer:
        for table in _quarantined(folders):
            writer.write_batch(table)
    return parquet.describe(path)


def _quarantined(folders: Sequence[Path]) -> Iterator[pa.RecordBatch]:
    for folder in folders:
        part = shards.file_of(folder, "quarantine")
        if part.exists():
            with pq.ParquetFile(part) as file:
                # In batches, because quarantine may hold most of a large source.
                yield from file.iter_batches()


def _check_rows(out: Path, files: dict[str, Any], total: Contents) -> None:
    """Check that every raw row and every set is somewhere, by the row counts of the published files."""
    # From the footers on disk and not from memory: it is the files that have to be complete.
    rows = {name: pq.read_metadata(out / name).num_rows for name in files}
    sets = sum(number for name, number in rows.items() if name.startswith("data/"))
    counts = total.counts
    quarantine = sum(number for name, number in counts.items() if ".quarantined_" in name)
    if sets != counts["mine.sets_out"] or rows[QUARANTINE_FILE] != quarantine:
        # No PairkitError, because nothing that a person could change leads here.
        raise RuntimeError(f"rows do not add up: {dict(counts)} counted, {rows} in the files")
