"""The files of a built dataset, by name, and its manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pairkit.errors import InputError
from pairkit.files import read_json, was_address
from pairkit.progress import shell_quoted
from pairkit.schema import MANIFEST, short_hash

CARD = "README.md"
QUARANTINE_FILE = "quarantine.parquet"
DECONTAMINATION_FILE = "decontamination.parquet"
LOG = "run.jsonl"
SEAL = "manifest_hash"  # the key of a manifest for the hash of its other keys
EXPORT = "export"  # the key of a manifest that is an export's


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read `pairkit.json` of a built dataset. Raises `InputError`."""
    path = folder / MANIFEST
    try:
        content = read_json(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{folder}: not a built dataset (no {MANIFEST}); {_instead(folder)}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); build the dataset again") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: not the manifest of a dataset; build the dataset again")
    for key in ("recipe", "input", "counts", "card"):
        if not isinstance(content.get(key, {}), dict):
            raise InputError(f"{path}: {key!r} is not a mapping; build the dataset again")
    # An export has a manifest of the same name, which lists other things.
    if EXPORT in content:
        raise InputError(f"{folder}: holds an export; give the dataset that `pairkit build` wrote")
    return content


def sealed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return a manifest with a hash of all that it holds."""
    # As it is read again, because JSON has fewer types.
    content: dict[str, Any] = json.loads(json.dumps({k: v for k, v in manifest.items() if k != SEAL}))
    return {**manifest, SEAL: short_hash(content)}


def was_edited(manifest: Mapping[str, Any]) -> bool:
    """Return whether a manifest is not as it was written; of an older version, only its recipe has a hash."""
    recipe_hash = manifest.get("recipe_hash")
    if recipe_hash is not None and short_hash(manifest.get("recipe")) != recipe_hash:
        return True
    return SEAL in manifest and sealed(manifest)[SEAL] != manifest[SEAL]


def _instead(folder: Path) -> str:
    """Describe what to do about a path that holds no built dataset."""
    if was_address(folder):
        return "this command reads no address of a store: download the dataset, and give its directory"
    if (folder / ".build").is_dir():
        return "its build was interrupted: run the same `pairkit build` command to complete it"
    # A folder such as data/, or a file in it, was given instead of the dataset.
    for parent in list(folder.parents)[:2]:
        if (parent / MANIFEST).is_file():
            return f"give the dataset that contains it: {parent}"
    if folder.is_file():
        return f"build one from the file: pairkit build --source files --path {shell_quoted(str(folder))}"
    return "build one with: pairkit build --source NAME"
