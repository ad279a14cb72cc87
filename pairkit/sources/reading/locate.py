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


class Found(NamedTuple):
    """A file, and the name by which quarantine and messages call it (the same on every machine)."""

    path: Path
    label: str


def find(path: str, split: str | None, default_split: str) -> list[Found]:
    """The files that `path` names, sorted.

    Of a folder, those of the split (its name as a word of the file's path); where no file is named after
    the default split, a folder gives all its files. A single file or a glob has no splits.
    Raises `InputError` (nothing there, another kind of file) or `RecipeError` (a split of a single file).
    """
    place = Path(path).expanduser()
    try:
        os.stat(place)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        pass  # nothing there, unless it is a glob
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if place.is_dir():
        return _in_folder(place, split, default_split)
    if split is not None:
        raise RecipeError(f"{path}: only a folder and a hub data set have splits; leave out `split`")
    if place.is_file():
        return _checked([Found(place, place.name)])
    matches = sorted(Path(match) for match in glob.glob(str(place), recursive=True))
    files = [match for match in matches if match.is_file()]
    if not files:
        kind = "no file matches" if glob.has_magic(path) else "no such file or folder"
        raise InputError(f"{path}: {kind}")
    root = _common_folder(files)
    return _checked([Found(file, str(file.relative_to(root))) for file in files])


def _common_folder(files: Sequence[Path]) -> Path:
    parents = [set(file.parents) for file in files]
    return max(set.intersection(*parents), key=lambda folder: len(folder.parts))


def _in_folder(folder: Path, split: str | None, default_split: str) -> list[Found]:
    # A data set that pairkit built: the sets are in data/, beside views and quarantine.
    root = folder / "data" if (folder / MANIFEST).is_file() else folder
    files = [file for file in sorted(root.rglob("*")) if _is_data(file, root)]
    if not files:
        raise InputError(f"{folder}: holds no file that pairkit reads ({READABLE})")
    found = [Found(file, str(file.relative_to(root))) for file in files]
    of_split = [file for file in found if _names(split or default_split, file.label)]
    if split is not None and not of_split:
        raise InputError(f"{folder}: no file is named after the split {split!r}; there is {found[0].label}")
    found = of_split or found
    formats = sorted({format_of(file.path)[0] for file in found})
    if len(formats) > 1:
        raise InputError(
            f"{folder}: holds files of several formats ({', '.join(formats)}); name those to read with a glob"
        )
    return _checked(found)


def _is_data(file: Path, root: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(root).parts)
    suffixes = [suffix.lower() for suffix in file.suffixes if suffix.lower() not in COMPRESSIONS]
    return file.is_file() and not hidden and bool(suffixes) and suffixes[-1] in FORMATS


def _names(split: str, label: str) -> bool:
    """Whether the split's name is a word of a path: of `data/train-00000-of-00002.parquet`, say."""
    return re.search(rf"(^|[-_./ ]){re.escape(split)}([-_./ ]|$)", label) is not None


def _checked(found: list[Found]) -> list[Found]:
    for file, _ in found:
        format_of(file)
        try:
            with file.open("rb") as handle:
                if not handle.read(1):
                    raise InputError(f"{file}: is empty")
        except OSError as error:
            raise InputError(f"{file}: cannot be read: {error.strerror}") from error
    return found


def fingerprint(found: Sequence[Found]) -> str:
    """A hash of the files' names and content, in order."""
    return hashlib.sha256(
        "".join(short_hash([file.label, sha256(file.path)]) for file in found).encode()
    ).hexdigest()
