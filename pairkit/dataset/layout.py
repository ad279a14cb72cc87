"""The files of a built data set, by name, and its manifest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pairkit.errors import InputError
from pairkit.schema import MANIFEST

CARD = "README.md"


QUARANTINE_FILE = "quarantine.parquet"
LOG = "run.jsonl"


def read_manifest(folder: Path) -> dict[str, Any]:
    """What `pairkit.json` of a built data set says. Raises `InputError`."""
    manifest = folder / MANIFEST
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{folder}: not a built data set (no {MANIFEST}); {_instead(folder)}") from error
    except OSError as error:
        raise InputError(f"{manifest}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{manifest}: not JSON ({error}); build the data set again") from error
    if not isinstance(content, dict):
        raise InputError(f"{manifest}: not the manifest of a data set; build the data set again")
    return content


def _instead(folder: Path) -> str:
    """What to do about a path that is no built data set."""
    if (folder / ".build").is_dir():
        return "its build stopped before the end: the same `pairkit build` command completes it"
    for parent in list(folder.parents)[:2]:
        if (parent / MANIFEST).is_file():
            return f"give the data set that it is a part of: {parent}"
    if folder.is_file():
        return f"build one from the file: pairkit build --source files --path {folder}"
    return "build one with: pairkit build --source NAME"
