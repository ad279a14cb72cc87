"""Patterns of the paths of files: globs, and the names of splits. Nothing here looks at a disk."""

from __future__ import annotations

import fnmatch
import glob
import re
from collections.abc import Sequence
from pathlib import Path


def is_named(split: str, label: str) -> bool:
    """Return whether the split's name is a word of a path, as in `data/train-00000-of-00002.parquet`."""
    return re.search(rf"(^|[-_./ ]){re.escape(split)}([-_./ ]|$)", label) is not None


def fixed_part(pattern: str) -> tuple[str, str]:
    """Return the part of an address before its first wildcard, up to a slash, and the pattern below it.

    >>> fixed_part("bucket/rows/part-*.jsonl"), fixed_part("bucket/rows")
    (('bucket/rows', 'part-*.jsonl'), ('bucket/rows', ''))
    """
    root, below = split_pattern(pattern)
    return str(root), "/".join(below)


def matches(name: str, pattern: str) -> bool:
    """Tell whether a name below a folder is of a glob; hidden names are not, as on a disk."""
    parts = name.split("/")
    hidden = any(part.startswith(".") for part in parts)
    return not hidden and matches_parts(parts, pattern.split("/"))


def split_pattern(pattern: str) -> tuple[Path, tuple[str, ...]]:
    """Return the folder up to the first wildcard, and the parts of the pattern below it."""
    parts = Path(pattern).parts
    first = next((number for number, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return Path(*parts[:first]), parts[first:]


def matches_parts(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Tell whether a path, in parts, is of a pattern in which `**` stands for any number of parts."""
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(matches_parts(parts[number:], pattern[1:]) for number in range(len(parts) + 1))
    return bool(parts) and fnmatch.fnmatchcase(parts[0], pattern[0]) and matches_parts(parts[1:], pattern[1:])
