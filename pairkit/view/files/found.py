"""What is at a path: a built dataset, an online training, or files of pairs; and its Parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from pairkit.dataset.layout import EXPORT, QUARANTINE_FILE, read_manifest
from pairkit.dataset.reader import split_of
from pairkit.errors import InputError
from pairkit.files import ANNOTATIONS, read_json, sha256
from pairkit.online.layout import DATA, RUN, folder_of
from pairkit.online.layout import RECORD as ONLINE
from pairkit.schema import DROPPED, MANIFEST, QUARANTINE, VERDICTS, to_sets
from pairkit.training.output.layout import RECORD as TRAINING
from pairkit.view.files.shards import Shard, open_shard

INSTEAD = (
    "give a dataset that `pairkit build` wrote, an online training, or a file or folder of pairs (JSON, CSV, "
    "Parquet, Arrow)"
)
KINDS: Mapping[str, pa.Schema] = {"verdicts": VERDICTS, "dropped": DROPPED}


class Found(NamedTuple):
    """The files of a collection.

    Attributes:
        kind: "dataset", "online" or "files".
        folder: where annotations of it lie; None where it cannot be annotated.
        digest: identifies the data.
        shards: the files of its sets.
        quarantine, verdicts, dropped: its other files.
        manifests: of its datasets, by segment; "" where there are none.
        runs: the training runs of its segments.
        problems: files that cannot be read, with the reason.
    """

    kind: str
    title: str
    path: Path
    folder: Path | None
    digest: str
    shards: tuple[Shard, ...]
    quarantine: tuple[Shard, ...]
    verdicts: tuple[Shard, ...]
    dropped: tuple[Shard, ...]
    manifests: Mapping[str, Mapping[str, Any]]
    runs: Mapping[str, Path]
    problems: tuple[dict[str, str], ...]


def kind_of(path: Path) -> str:
    """Return what a path holds: "dataset", "online" or "files". Raises `InputError` if it is neither."""
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; {INSTEAD}")
    if (path / ONLINE).is_file():
        return "online"
    if (path / MANIFEST).is_file():
        return "files" if _is_export(path / MANIFEST) else "dataset"
    if (path / ".build").is_dir():
        # With the advice to complete it.
        read_manifest(path)
    if (path / TRAINING).is_file():
        raise InputError(
            f"{path}: is a training run: give the dataset that it was trained on, and --run {path}"
        )
    return "files"


def find_dataset(folder: Path) -> Found:
    """Find the files of a built dataset. Raises `InputError` for a damaged manifest."""
    return _dataset(folder, folder, "")


def find_online(out: Path) -> Found:
    """Find the files of the segments of an online training; those that are not built yet are problems.

    Raises `InputError` if none is.
    """
    datasets: list[Found] = []
    problems: list[dict[str, str]] = []
    runs = {}
    for number in _segments(out):
        folder = folder_of(out, number) / DATA
        if not (folder / MANIFEST).is_file():
            message = f"{folder}: not built yet; open the data again when it is"
            problems.append({"file": str(folder.relative_to(out)), "message": message})
            continue
        try:
            datasets.append(_dataset(folder, out, str(number)))
        except InputError as error:
            problems.append({"file": str(folder.relative_to(out)), "message": str(error)})
        if (folder_of(out, number) / RUN / TRAINING).is_file():
            runs[str(number)] = folder_of(out, number) / RUN
    if not datasets:
        first = f": {problems[0]['message']}" if problems else ""
        raise InputError(f"{out}: no segment has a dataset yet{first}")
    return Found(
        kind="online",
        title=out.resolve().name,
        path=out,
        folder=None,  # a set may be in several segments: the dataset of one is annotated
        # Of its record, because it stays the same data while segments are added.
        digest=sha256(out / ONLINE),
        shards=tuple(shard for each in datasets for shard in each.shards),
        quarantine=tuple(shard for each in datasets for shard in each.quarantine),
        verdicts=tuple(shard for each in datasets for shard in each.verdicts),
        dropped=tuple(shard for each in datasets for shard in each.dropped),
        manifests={segment: content for each in datasets for segment, content in each.manifests.items()},
        runs=runs,
        problems=(*problems, *(problem for each in datasets for problem in each.problems)),
    )


def _is_export(manifest: Path) -> bool:
    try:
        content = read_json(manifest)
    except (OSError, ValueError):
        return False  # whose error `read_manifest` raises
    return isinstance(content, dict) and EXPORT in content


def _segments(out: Path) -> list[int]:
    names = (path.name.removeprefix("segment-") for path in out.glob("segment-*") if path.is_dir())
    return sorted(int(name) for name in names if name.isdigit())


def _dataset(folder: Path, root: Path, segment: str) -> Found:
    manifest = read_manifest(folder)
    problems: list[dict[str, str]] = []

    def opened(path: Path, schema: pa.Schema | None, split: str = "") -> Iterator[Shard]:
        label = str(path.relative_to(root))
        check = partial(to_sets, file=path) if schema is None else partial(_check, schema=schema, file=path)
        try:
            yield open_shard(path, label, check, split=split, segment=segment)
        except InputError as error:
            problems.append({"file": label, "message": str(error)})

    shards = [
        shard
        for path in sorted((folder / "data").glob("*-[0-9]*-of-*.parquet"), key=_place)
        for shard in opened(path, None, split_of(path.name))
    ]
    others = {
        kind: tuple(
            shard
            for path in sorted((folder / kind).glob("all-[0-9]*-of-*.parquet"))
            for shard in opened(path, schema)
        )
        for kind, schema in KINDS.items()
    }
    quarantine = folder / QUARANTINE_FILE
    rows = tuple(opened(quarantine, QUARANTINE)) if quarantine.exists() else ()
    hashes = manifest.get("files")
    for name in sorted(hashes) if isinstance(hashes, dict) else ():
        if name.startswith(("data/", "verdicts/")) and not (folder / name).exists():
            label = str((folder / name).relative_to(root))
            problems.append({"file": label, "message": f"is missing, though {MANIFEST} lists it"})
    return Found(
        kind="dataset",
        title=folder.resolve().name,
        path=folder,
        folder=folder / ANNOTATIONS,
        digest=sha256(folder / MANIFEST),
        shards=tuple(shards),
        quarantine=rows,
        **others,
        manifests={segment: manifest},
        runs={},
        problems=tuple(problems),
    )


def _place(path: Path) -> tuple[bool, Path]:
    # Sets to train on come first: they are what people label, and what a build from the dataset reads.
    return split_of(path.name) != "train", path


def _check(table: pa.Table, *, schema: pa.Schema, file: Path) -> None:
    for name in schema.names:
        if name not in table.column_names:
            raise InputError.at(f"has no column {name!r}", file=file, field=name)
