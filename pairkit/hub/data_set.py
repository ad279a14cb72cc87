"""A built data set as it is published: what its manifest names, unchanged, with a card that is right.

The manifest holds size and sha256 of every file. What differs was changed by hand: it is refused, or, when
that is wanted, published under a manifest that says so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pairkit.dataset import parquet, views
from pairkit.dataset.layout import CARD, QUARANTINE_FILE, read_manifest
from pairkit.errors import InputError
from pairkit.hub import content
from pairkit.hub.content import Content, File
from pairkit.progress import progress
from pairkit.schema import MANIFEST, QUARANTINE, SCHEMA_VERSION, SETS, VERDICTS, check_sets, short_hash

# By the folder that a Parquet file is in.
SCHEMAS = {"data": SETS, "pairs": views.PAIRS, "verdicts": VERDICTS, "": QUARANTINE}
_NAME = re.compile(r"(?!\.)[\w.-]+(/(?!\.)[\w.-]+)*")  # neither hidden, nor out of the directory


def data_set(folder: Path, *, quarantine: bool = False, force: bool = False) -> Content:
    """The data set that `pairkit build` wrote into `folder`, checked.

    Args:
        quarantine: whether the rows that could not be used are published too.
        force: publish one that was changed by hand, as far as schema and card still hold.

    Raises:
        InputError: an unfinished build, no data set, a file that is missing, was changed, or is not of its
            schema, a card that does not say what the files are.
    """
    manifest = _manifest(folder)
    published = [name for name in manifest["files"] if quarantine or name != QUARANTINE_FILE]
    added = _added(folder, manifest)
    files: dict[str, File] = {}
    with progress(f"checking {folder}", len(published) + len(added), unit="files") as advance:
        for name in [*published, *added]:
            files[name] = _present(folder / name)
            advance()
    changed = _changed(manifest, files, added)
    if changed and not force:
        raise InputError(
            f"{folder}: changed by hand since it was built: {', '.join(changed)}; build it again, or give "
            "--force to publish it as it is, with a manifest that says so"
        )
    rows = {name: _check_parquet(folder / name, name) for name in files if name.endswith(".parquet")}
    _check_card(folder / CARD, rows)
    for name in set(changed) & rows.keys():
        _check_rows(folder / name, name)
    if changed:
        files[MANIFEST] = _admitting(folder, manifest, files, changed)
        return Content("dataset", files, [f"changed by hand: {', '.join(changed)}"])
    files[MANIFEST] = content.on_disk(folder / MANIFEST)
    return Content("dataset", files, [])


def _manifest(folder: Path) -> dict[str, Any]:
    manifest = read_manifest(folder)
    where = folder / MANIFEST
    if manifest.get("schema_version") != SCHEMA_VERSION:
        found = manifest.get("schema_version")
        raise InputError(f"{where}: of schema version {found!r}, not {SCHEMA_VERSION}: build it again")
    files: Any = manifest.get("files")
    good = isinstance(files, dict) and all(
        isinstance(about, dict) and {"bytes", "sha256"} <= about.keys() for about in files.values()
    )
    if not good or not isinstance(manifest.get("recipe"), dict) or CARD not in files:
        raise InputError(f"{where}: names no files with their hashes: build the data set again")
    for name in files:
        if not _NAME.fullmatch(name):
            raise InputError(f"{where}: names a file that is not one of a data set: {name!r}")
    return manifest


def _present(path: Path) -> File:
    if not path.is_file():
        raise InputError(f"{path}: is missing; build the data set again")
    return content.on_disk(path)


def _added(folder: Path, manifest: Mapping[str, Any]) -> list[str]:
    """Parquet files that no build wrote, where `load_dataset` would take them for rows."""
    found = [f"{kind}/{path.name}" for kind in SCHEMAS if kind for path in (folder / kind).glob("*.parquet")]
    return sorted(set(found) - manifest["files"].keys())


def _changed(manifest: Mapping[str, Any], files: Mapping[str, File], added: list[str]) -> list[str]:
    """The names of what is not as it was built."""
    changed = [
        name
        for name, file in files.items()
        if name not in added and file.sha256 != manifest["files"][name]["sha256"]
    ]
    if short_hash(manifest["recipe"]) != manifest.get("recipe_hash"):
        changed.append(MANIFEST)
    return [*changed, *added]


def _check_parquet(path: Path, name: str) -> int:
    """The rows of a Parquet file, which has to be of the schema of its folder."""
    kind = name.rpartition("/")[0]
    if kind not in SCHEMAS:
        raise InputError(f"{path}: not a Parquet file of a data set; there are {', '.join(SCHEMAS)}")
    try:
        found, rows = pq.read_schema(path), pq.read_metadata(path).num_rows
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a Parquet file: {error}") from error
    expected = SCHEMAS[kind]
    for field in expected:
        if field.name not in found.names:
            raise InputError.at("is missing", file=path, field=field.name)
        if found.field(field.name).type != field.type:
            problem = f"is {found.field(field.name).type}, not {field.type}"
            raise InputError.at(problem, file=path, field=field.name)
    if found.names != expected.names:
        raise InputError(f"{path}: has the columns {', '.join(found.names)}, not {', '.join(expected.names)}")
    return int(rows)


def _check_rows(path: Path, name: str) -> None:
    """What a schema cannot say of candidate sets, where the rows are not those that were built."""
    if name.startswith("data/"):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1000):
                check_sets(pa.Table.from_batches([batch]), file=path)


def _check_card(card: Path, rows: Mapping[str, int]) -> None:
    """The card's front matter is what `load_dataset` goes by: its files are there and have so many rows."""
    about = content.front_matter(card)
    stated = _stated(card, about)
    for config, split, pattern in _patterns(card, about):
        matching = [number for name, number in rows.items() if fnmatchcase(name, pattern)]
        if not matching:
            raise InputError(f"{card}: configuration {config!r} names {pattern!r}, which is no file here")
        said = stated.get((config, split))
        if said is not None and said != sum(matching):
            raise InputError(
                f"{card}: says {said} rows of split {split!r} of configuration {config!r}, the files have "
                f"{sum(matching)}; correct num_examples in its dataset_info"
            )


def _patterns(card: Path, about: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(configuration, split, pattern) of every entry of the card's `configs`."""
    try:
        found = [
            (str(config["config_name"]), str(part["split"]), str(part["path"]))
            for config in about["configs"]
            for part in config["data_files"]
        ]
    except (KeyError, TypeError) as error:
        problem = "has no `configs` with config_name and data_files (split, path)"
        raise InputError(f"{card}: the card's front matter {problem}") from error
    if not found:
        raise InputError(f"{card}: the card's front matter has an empty list of `configs`")
    return found


def _stated(card: Path, about: Mapping[str, Any]) -> dict[tuple[str, str], int]:
    """Rows by configuration and split, as `dataset_info` states them."""
    infos = about.get("dataset_info", [])
    try:
        return {
            (str(info["config_name"]), str(split["name"])): int(split["num_examples"])
            for info in (infos if isinstance(infos, list) else [infos])
            for split in info["splits"]
        }
    except (KeyError, TypeError, ValueError) as error:
        problem = "has no `dataset_info` with config_name and splits (name, num_examples)"
        raise InputError(f"{card}: the card's front matter {problem}") from error


def _admitting(
    folder: Path, manifest: Mapping[str, Any], files: Mapping[str, File], changed: list[str]
) -> File:
    """The manifest of a data set that was changed by hand: of the files as they are, with those named."""
    described = {
        name: parquet.describe(folder / name) if name.endswith(".parquet") else file.describe()
        for name, file in files.items()
    }
    kept = {name: about for name, about in manifest["files"].items() if name not in files}
    told = {**manifest, "files": {**kept, **described}, "changed_by_hand": changed}
    return content.made((json.dumps(told, ensure_ascii=False, indent=2, sort_keys=True) + "\n").encode())
