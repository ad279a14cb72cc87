"""The files of a built dataset, by name, and its manifest."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from pairkit.errors import InputError
from pairkit.files import read_json
from pairkit.schema import MANIFEST

CARD = "README.md"
QUARANTINE_FILE = "quarantine.parquet"
LOG = "run.jsonl"
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
            raise InputError(f"{path}: {key!r} is no mapping; build the dataset again")
    # An export has a manifest of the same name, which lists other things.
    if EXPORT in content:
        raise InputError(f"{folder}: holds an export; give the dataset that `pairkit build` wrote")
    return content


def _instead(folder: Path) -> str:
    """Say what to do about a path that holds no built dataset."""
    if (folder / ".build").is_dir():
        return "its build was interrupted: run the same `pairkit build` command to complete it"
    # A folder such as data/, or a file in it, was given instead of the dataset.
    for parent in list(folder.parents)[:2]:
        if (parent / MANIFEST).is_file():
            return f"give the dataset that contains it: {parent}"
    if folder.is_file():
        return f"build one from the file: pairkit build --source files --path {shlex.quote(str(folder))}"
    return "build one with: pairkit build --source NAME"
