"""Finding the files that a recipe's `path` names: a file, a folder or a glob."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pairkit.errors import InputError, RecipeError
from pairkit.hashing import Stamp, sha256_of, stamp
from pairkit.readers.formats import READABLE, advice, format_of, has_format
from pairkit.readers.saved import refuse_selection, row_files, saved_files, saved_splits
from pairkit.schema import MANIFEST, short_hash
from pairkit.sources.on_store import downloaded
from pairkit.sources.patterns import is_named
from pairkit.sources.reading.walk import files_below, matching, named_by, once
from pairkit.stores.address import is_address

# Of the files in a built dataset, those that could be read as input, one of each kind.
OUTPUT = (
    *(f"{kind}/train-00000-of-00001.parquet" for kind in ("data", "pairs", "verdicts")),
    "quarantine.parquet",
    "run.jsonl",
    MANIFEST,
)


class DataFile(NamedTuple):
    """A file, and its label in quarantine and messages, which is the same on every machine."""

    path: Path
    label: str


def is_path(name: str) -> bool:
    """Return whether a name is that of a file or folder: it exists, or it ends as data files do."""
    place = Path(name).expanduser()
    try:
        return place.exists() or has_format(place)
    except (OSError, ValueError):
        return False


def find_files(path: str, split: str | None, default_split: str) -> list[DataFile]:
    """Return the files that `path` names, sorted; each can be read and has content.

    Raises what `named_files` raises, and `InputError` for one that is empty or cannot be read.
    """
    files = named_files(path, split, default_split)
    for file, _ in files:
        if format_of(file)[0] == "arrow":
            refuse_selection(file.parent)
        try:
            with file.open("rb") as handle:
                # One byte, because only reading shows that a file may be read.
                if not handle.read(1):
                    raise InputError(f"{file}: is empty")
        except OSError as error:
            raise InputError(f"{file}: cannot be read: {error.strerror}") from error
    return files


def named_files(path: str, split: str | None, default_split: str) -> list[DataFile]:
    """Return the files that `path` names, sorted.

    From a folder, take the files of the split (its name is a word of the file's path); without `split`, take
    those of the default split, or all files if none is named after it. A file or a glob has no splits.
    The files of a store's address are downloaded first, and found in the same way.

    Raises `InputError` (no such file, an unknown format) or `RecipeError` (a split of a single file).
    """
    if is_address(path):
        path = downloaded(path, split or default_split)
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
        return [DataFile(place, place.name)]
    files = matching(str(place))
    if not files:
        kind = "no file matches" if glob.has_magic(path) else "no such file or folder"
        raise InputError(f"{path}: {kind}")
    # Labels begin there, because they are part of the fingerprint and must be equal on every machine.
    root = _common_folder(files)
    return _once([DataFile(file, str(file.relative_to(root))) for file in files])


def _common_folder(files: Sequence[Path]) -> Path:
    parents = [set(file.parents) for file in files]
    return max(set.intersection(*parents), key=lambda folder: len(folder.parts))


def _in_folder(folder: Path, split: str | None, default_split: str) -> list[DataFile]:
    splits = saved_splits(folder)
    if splits is not None:
        return _in_saved_splits(folder, splits, split, default_split)
    # In a dataset that pairkit built, the sets are in data/, next to views and quarantine; exports have none.
    root = folder / "data" if (folder / MANIFEST).is_file() and (folder / "data").is_dir() else folder
    all_paths = files_below(root)
    # A saved dataset names its files in the order of its rows.
    paths = saved_files(root) or row_files(path for path in all_paths if has_format(path))
    if not paths:
        raise InputError(f"{folder}: contains no file that pairkit reads ({READABLE}){_instead(all_paths)}")
    files = [DataFile(path, str(path.relative_to(root))) for path in paths]
    of_split = [file for file in files if is_named(split or default_split, file.label)]
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
    return _once(files)


def _in_saved_splits(
    folder: Path, splits: Sequence[str], split: str | None, default_split: str
) -> list[DataFile]:
    """Return the files of a saved `DatasetDict`, whose splits are folders with exactly these names."""
    if split is not None and split not in splits:
        raise InputError(f"{folder}: has no split {split!r}; choose one of: {', '.join(splits) or 'none'}")
    chosen = split or (default_split if default_split in splits else None)
    files = [
        DataFile(path, str(path.relative_to(folder)))
        for name in ([chosen] if chosen else splits)
        for path in _saved_split(folder / name)
    ]
    if not files:
        raise InputError(f"{folder}: contains no rows")
    return _once(files)


def _saved_split(folder: Path) -> list[Path]:
    files = saved_files(folder)
    if files is None:
        raise InputError(f"{folder}: is named as a split, but is not a saved dataset; get the folder again")
    return files


def _instead(files: Sequence[Path]) -> str:
    """Return what to do with the first file that could be made readable."""
    return next((f"; {file.name}: {help_}" for file in files if (help_ := advice(file))), "")


def _once(files: list[DataFile]) -> list[DataFile]:
    # After the choice of a split, because a file may be in one under one of its names only.
    return once(files, lambda file: file.path)


def refuse_own_output(path: str, out: Path) -> None:
    """Raise `InputError` if the output directory `out` is part of the input at `path`, or contains it.

    The next run of the same command would otherwise read what the first one wrote.
    """
    if is_address(path):
        return
    place, target = Path(os.path.realpath(Path(path).expanduser())), Path(os.path.realpath(out))
    if place.is_relative_to(target):
        raise InputError(f"{path}: the input is in the output directory {out}; choose another --out")
    if place.is_dir() and target.is_relative_to(place):
        raise InputError(
            f"{out}: the output directory is in the input folder {path}, and would be read by the next run; "
            "choose an --out outside it, or give --path the files themselves, as a glob"
        )
    if place.exists() or not glob.has_magic(path):
        return
    for name in OUTPUT:
        if named_by(str(Path(path).expanduser()), target / name):
            raise InputError(
                f"{path}: matches what is written to the output directory {out}, and would read it in the "
                "next run; choose another --out, or a narrower pattern"
            )


def refuse_own_files(files: Sequence[Path], out: Path) -> None:
    """Raise `InputError` if one of the files to read, or what a link leads to, is in the directory `out`."""
    target = os.path.realpath(out)
    for file in files:
        if Path(os.path.realpath(file)).is_relative_to(target):
            raise InputError(f"{file}: the input is in the output directory {out}; choose another --out")


def hash_files(files: Sequence[DataFile]) -> dict[Path, str]:
    """Return the sha256 of each file's content."""
    return sha256_of([file.path for file in files], "hashing the input")


def stamp_files(files: Sequence[DataFile]) -> dict[Path, Stamp]:
    """Return the state of each file. Raises `InputError` for one that is gone."""
    try:
        return {file.path: stamp(file.path) for file in files}
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read any more ({error.strerror})") from error


def fingerprint_files(files: Sequence[DataFile], hashes: Mapping[Path, str]) -> str:
    """Return a hash of the files' labels and content, in order."""
    return hashlib.sha256(
        "".join(short_hash([file.label, hashes[file.path]]) for file in files).encode()
    ).hexdigest()
