"""Finding the files that a recipe's `path` names: a file, a folder or a glob."""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pairkit.errors import InputError, RecipeError
from pairkit.files import sha256
from pairkit.readers.formats import COMPRESSIONS, FORMATS, READABLE, format_of
from pairkit.schema import MANIFEST, short_hash


class DataFile(NamedTuple):
    """A file, and its label in quarantine and messages, which is the same on every machine."""

    path: Path
    label: str


def find_files(path: str, split: str | None, default_split: str) -> list[DataFile]:
    """Return the files that `path` names, sorted.

    From a folder, take the files of the split (its name is a word of the file's path); without `split`, take
    those of the default split, or all files if none is named after it. A file or a glob has no splits.
    Raises `InputError` (no such file, an unknown format) or `RecipeError` (a split of a single file).
    """
    place = Path(path).expanduser()
    try:
        os.stat(place)
    # ValueError is a name that no file can have.
    except (FileNotFoundError, NotADirectoryError, ValueError):
        pass  # not a file, but maybe a glob
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if place.is_dir():
        return _in_folder(place, split, default_split)
    if split is not None:
        raise RecipeError(f"{path}: `split` applies to folders and hub datasets only; leave it out")
    if place.is_file():
        return _checked([DataFile(place, place.name)])
    matches = sorted(Path(match) for match in glob.glob(str(place), recursive=True))
    files = [match for match in matches if match.is_file()]
    if not files:
        kind = "no file matches" if glob.has_magic(path) else "no such file or folder"
        raise InputError(f"{path}: {kind}")
    # Labels begin there, because they are part of the fingerprint and must be equal on every machine.
    root = _common_folder(files)
    return _checked([DataFile(file, str(file.relative_to(root))) for file in files])


def _common_folder(files: Sequence[Path]) -> Path:
    parents = [set(file.parents) for file in files]
    return max(set.intersection(*parents), key=lambda folder: len(folder.parts))


def _in_folder(folder: Path, split: str | None, default_split: str) -> list[DataFile]:
    # In a dataset that pairkit built, the sets are in data/, next to views and quarantine.
    root = folder / "data" if (folder / MANIFEST).is_file() else folder
    paths = [path for path in sorted(root.rglob("*")) if _is_data(path, root)]
    if not paths:
        raise InputError(f"{folder}: contains no file that pairkit reads ({READABLE})")
    files = [DataFile(path, str(path.relative_to(root))) for path in paths]
    of_split = [file for file in files if _is_named(split or default_split, file.label)]
    if split is not None and not of_split:
        raise InputError(
            f"{folder}: no file for split {split!r} (found {files[0].label}): choose another --split, or "
            "name the files with a glob in --path"
        )
    files = of_split or files
    formats = sorted({format_of(file.path)[0] for file in files})
    if len(formats) > 1:
        raise InputError(
            f"{folder}: contains files of several formats ({', '.join(formats)}); select some with a glob"
        )
    return _checked(files)


def _is_data(file: Path, root: Path) -> bool:
    # Caches and files that are still being written have such names.
    hidden = any(part.startswith(".") for part in file.relative_to(root).parts)
    suffixes = [suffix.lower() for suffix in file.suffixes if suffix.lower() not in COMPRESSIONS]
    return file.is_file() and not hidden and bool(suffixes) and suffixes[-1] in FORMATS


def _is_named(split: str, label: str) -> bool:
    """Return whether the split's name is a word of a path, as in `data/train-00000-of-00002.parquet`."""
    return re.search(rf"(^|[-_./ ]){re.escape(split)}([-_./ ]|$)", label) is not None


def _checked(files: list[DataFile]) -> list[DataFile]:
    for file, _ in files:
        format_of(file)
        try:
            with file.open("rb") as handle:
                # One byte, because only reading shows that a file may be read.
                if not handle.read(1):
                    raise InputError(f"{file}: is empty")
        except OSError as error:
            raise InputError(f"{file}: cannot be read: {error.strerror}") from error
    return files


def fingerprint_files(files: Sequence[DataFile]) -> str:
    """Return a hash of the files' labels and content, in order."""
    return hashlib.sha256(
        "".join(short_hash([file.label, sha256(file.path)]) for file in files).encode()
    ).hexdigest()
