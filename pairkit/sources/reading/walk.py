"""The files below a folder, or those of a glob, with links followed: loops end, and a file is read once."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from pairkit.errors import InputError
from pairkit.progress import log
from pairkit.readers.formats import has_format
from pairkit.sources.patterns import matches_parts, split_pattern

# Device and inode: what a name leads to, whatever the name is.
Identity = tuple[int, int]
T = TypeVar("T")


def files_below(root: Path) -> list[Path]:
    """Return the files in a folder and in all below it, hidden ones left out, sorted.

    Links to folders are followed. One to a folder that contains it would never end and is logged instead.
    Raises `InputError` for a link to a data file that does not exist.
    """
    files, links = _tree(root, set())
    for link in links:
        # Of its own for each link, because two names may mean two splits; with the folders around it, so
        # that it does not lead back to where it is.
        folders = {_identity(folder) for folder in _around(link)}
        pending = [link]
        while pending:
            top = pending.pop(0)
            if _identity(top) in folders:
                log(f"{top}: links to {os.path.realpath(top)}, which was read already on the way to it")
                continue
            more, inner_links = _tree(top, folders)
            files += more
            pending += inner_links
    return sorted(files)


def matching(pattern: str) -> list[Path]:
    """Return the files that a glob names, sorted. Raises `InputError` as `files_below` does."""
    root, below = split_pattern(pattern)
    # `glob` follows a link to a folder above it until the system refuses: two such links never end.
    if "**" in below and not any(part.startswith(".") for part in below):
        paths = files_below(root) if root.is_dir() else []
        return [path for path in paths if matches_parts(path.parts[len(root.parts) :], below)]
    return sorted(path for name in glob.glob(pattern, recursive=True) if _is_file(path := Path(name)))


def named_by(pattern: str, file: Path) -> bool:
    """Tell whether a glob would name a file, given without links in its path, if the file existed."""
    root, below = split_pattern(pattern)
    root = Path(os.path.realpath(root))
    return file.is_relative_to(root) and matches_parts(file.relative_to(root).parts, below)


def once(items: Sequence[T], path_of: Callable[[T], Path]) -> list[T]:
    """Leave out items whose file is that of another one, under a second name, and log that.

    The name that stays is the file's own rather than a link's, then the shortest, then the first.
    """
    names: dict[Identity, list[T]] = {}
    for item in items:
        names.setdefault(_identity(path_of(item)), []).append(item)

    def best(item: T) -> tuple[bool, int]:
        path = path_of(item)
        return os.path.realpath(path) != os.path.abspath(path), len(path.parts)

    for same in names.values():
        same.sort(key=best)
        if len(same) > 1:
            others = ", ".join(str(path_of(item)) for item in same[1:4])
            log(f"{path_of(same[0])}: read once, though it has {len(same)} names ({others})")
    ids = {id(same[0]) for same in names.values()}
    return [item for item in items if id(item) in ids]


def _tree(root: Path, folders: set[Identity]) -> tuple[list[Path], list[Path]]:
    """Return the files in and below a folder, and the links to folders; `folders` gets those entered."""
    files: list[Path] = []
    links: list[Path] = []
    pending = [root]
    while pending:
        folder = pending.pop()
        folders.add(_identity(folder))
        for name in _names(folder):
            path = folder / name
            if path.is_dir():
                (links if path.is_symlink() else pending).append(path)
            elif _is_file(path):
                files.append(path)
    return files, sorted(links)


def _names(folder: Path) -> Iterable[str]:
    try:
        # Caches and files that are still being written have hidden names.
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        raise InputError(f"{folder}: cannot be read: {error.strerror}") from error


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        # Not ignored, because the rows that it stood for would be missing from the dataset.
        if path.is_symlink() and has_format(path):
            raise InputError(
                f"{path}: a link to {os.readlink(path)}, which cannot be read ({error.strerror}); "
                "restore the file or remove the link"
            ) from error
        return False


def _identity(path: Path) -> Identity:
    about = path.stat()
    return about.st_dev, about.st_ino


def _around(link: Path) -> list[Path]:
    folder = Path(os.path.realpath(link.parent))
    return [folder, *folder.parents]
