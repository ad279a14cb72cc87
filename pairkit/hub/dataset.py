"""A built dataset as it is published: the files that its manifest names, with a card that describes them.

The manifest holds size and sha256 of every file. A file that differs was changed by hand: it is refused or,
with --force, published under a manifest that names it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pairkit.dataset import parquet, views
from pairkit.dataset.card_settings import CardSettings, settings_of, with_settings
from pairkit.dataset.layout import (
    CARD,
    DECONTAMINATION_FILE,
    QUARANTINE_FILE,
    read_manifest,
    sealed,
    was_edited,
)
from pairkit.errors import InputError
from pairkit.files import ANNOTATIONS
from pairkit.hub import content
from pairkit.hub.card_check import check_card
from pairkit.hub.content import Content, File
from pairkit.progress import progress
from pairkit.schema import (
    DROPPED,
    MANIFEST,
    QUARANTINE,
    SCHEMA_VERSION,
    SETS,
    SETS_1,
    VERDICTS,
    check_sets,
)

# The schema of a Parquet file, by its folder.
SCHEMAS = {
    "data": SETS, "pairs": views.PAIRS, "verdicts": VERDICTS, "dropped": DROPPED, "": QUARANTINE,
}  # fmt: skip
_NAME = re.compile(r"(?!\.)[\w.-]+(/(?!\.)[\w.-]+)*")  # neither hidden nor outside the directory


def built_dataset(
    folder: Path, *, quarantine: bool = False, force: bool = False, settings: CardSettings | None = None
) -> Content:
    """Check the dataset that `pairkit build` wrote into `folder` and list what is published.

    Args:
        quarantine: publish quarantine.parquet too.
        force: publish a dataset that was changed by hand, if schema and card are still right.
        settings: fields of the card that replace those of the build.

    Raises:
        InputError: an unfinished build, no dataset, a file that is missing, was changed or has another
            schema, a card that does not describe the files.
    """
    content.inside(folder / MANIFEST, folder)
    manifest = _manifest(folder)
    description = {key: value for key, value in manifest.items() if key != "files"}
    content.check_secrets(folder / MANIFEST, description)
    if settings is not None:
        content.check_secrets("--card", settings.given())
    # Never the texts of benchmarks, which the next crawl of the hub would train on.
    unpublished = {DECONTAMINATION_FILE, *(() if quarantine else (QUARANTINE_FILE,))}
    names = [name for name in manifest["files"] if name not in unpublished]
    additions = _added(folder, manifest)
    files: dict[str, File] = {}
    with progress(f"checking {folder}", len(names) + len(additions), unit="files") as advance:
        for name in [*names, *additions]:
            files[name] = _describe(content.inside(folder / name, folder))
            advance()
    changes = _changed(manifest, files, additions)
    if changes and not force:
        raise InputError(
            f"{folder}: changed by hand since it was built: {', '.join(changes)}; build it again, or use "
            "--force to publish it as it is, with a manifest that lists the changes"
        )
    rows = {name: _check_parquet(folder / name, name) for name in files if name.endswith(".parquet")}
    card = content.read_card(folder / CARD)
    content.check_text(folder / CARD, card)
    check_card(str(folder / CARD), card, rows)
    # Only files that were changed, because the build has checked the rows of the others.
    for name in set(changes) & rows.keys():
        _check_rows(folder / name, name)
    notes = [f"changed by hand: {', '.join(changes)}"] if changes else []
    if names_of_people := sorted(path.stem for path in (folder / ANNOTATIONS).glob("*.jsonl")):
        notes.append(f"annotations of people are not published: {', '.join(names_of_people)}")
    files[MANIFEST] = (
        _changed_manifest(folder, manifest, files, changes) if changes else content.on_disk(folder / MANIFEST)
    )
    complete = Content("dataset", files, notes, rows)
    if settings is None or not settings.given():
        return complete
    before = settings_of(manifest.get("card", {}))
    together = {**before.given(), **settings.given()}
    return complete.with_card(with_settings(card, settings, before), {"card": together})


def _manifest(folder: Path) -> dict[str, Any]:
    manifest = read_manifest(folder)
    where = folder / MANIFEST
    # Columns of another version would not fit the card.
    if manifest.get("schema_version") not in range(1, SCHEMA_VERSION + 1):
        version = manifest.get("schema_version")
        raise InputError(
            f"{where}: schema version {version!r} is not supported (need 1 to {SCHEMA_VERSION}); "
            "build it again"
        )
    files: Any = manifest.get("files")
    good = isinstance(files, dict) and all(
        isinstance(about, dict) and {"bytes", "sha256"} <= about.keys() for about in files.values()
    )
    if not good or not isinstance(manifest.get("recipe"), dict) or CARD not in files:
        raise InputError(f"{where}: does not list its files with their hashes; build the dataset again")
    for name in files:
        if not _NAME.fullmatch(name):
            raise InputError(f"{where}: lists a file that does not belong to a dataset: {name!r}")
    return manifest


def _describe(path: Path) -> File:
    if not path.is_file():
        raise InputError(f"{path}: is missing; build the dataset again")
    return content.on_disk(path)


def _added(folder: Path, manifest: Mapping[str, Any]) -> list[str]:
    """List Parquet files that no build wrote, in folders whose files `load_dataset` reads."""
    names = {f"{kind}/{path.name}" for kind in SCHEMAS if kind for path in (folder / kind).glob("*.parquet")}
    return sorted(names - manifest["files"].keys())


def _changed(manifest: Mapping[str, Any], files: Mapping[str, File], additions: list[str]) -> list[str]:
    """List the files that are not as they were built."""
    names = [
        name
        for name, file in files.items()
        if name not in additions and file.sha256 != manifest["files"][name]["sha256"]
    ]
    if "recipe_hash" not in manifest or was_edited(manifest):
        names.append(MANIFEST)
    return [*names, *additions]


def _check_parquet(path: Path, name: str) -> int:
    """Count the rows of a Parquet file, which must have the schema of its folder."""
    kind = name.rpartition("/")[0]
    if kind not in SCHEMAS:
        raise InputError(
            f"{path}: not in a folder of a dataset's Parquet files: {', '.join(filter(None, SCHEMAS))}"
        )
    try:
        schema, rows = pq.read_schema(path), pq.read_metadata(path).num_rows
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a Parquet file: {error}") from error
    expected_schema = _expected(kind, schema.names)
    for field in expected_schema:
        if field.name not in schema.names:
            raise InputError.at("is missing", file=path, field=field.name)
        if schema.field(field.name).type != field.type:
            problem = f"is {schema.field(field.name).type}, not {field.type}"
            raise InputError.at(problem, file=path, field=field.name)
    # A further column is refused as well, because the card does not describe it.
    if schema.names != expected_schema.names:
        raise InputError(
            f"{path}: has the columns {', '.join(schema.names)}, not {', '.join(expected_schema.names)}; "
            "build the dataset again"
        )
    return int(rows)


def _expected(kind: str, names: Sequence[str]) -> pa.Schema:
    """Return the schema of a folder's files, of those that it may have the one that these columns are of."""
    if kind == "data":
        return SETS if "tools" in names else SETS_1
    if kind == "pairs":
        return views.CHAT_PAIRS if "tools" in names else views.PAIRS
    return SCHEMAS[kind]


def _check_rows(path: Path, name: str) -> None:
    """Check rows that were changed for what a schema cannot express."""
    if name.startswith("data/"):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1000):
                check_sets(pa.Table.from_batches([batch]), file=path)


def _changed_manifest(
    folder: Path, manifest: Mapping[str, Any], files: Mapping[str, File], changes: list[str]
) -> File:
    """Make the manifest of a dataset that was changed by hand, which describes the files as they are now."""
    descriptions = {
        name: parquet.describe(folder / name) if name.endswith(".parquet") else file.describe()
        for name, file in files.items()
    }
    # The quarantine that stays here is still listed: the manifest tells that it exists.
    unsent = {name: about for name, about in manifest["files"].items() if name not in files}
    manifest = {**manifest, "files": {**unsent, **descriptions}, "changed_by_hand": changes}
    return content.as_json(sealed(manifest))
