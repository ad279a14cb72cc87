"""The files that a push publishes, by their names on the hub."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

from pairkit.errors import InputError
from pairkit.files import sha256

Kind = Literal["dataset", "model"]  # as the hub's API calls them


@dataclass(frozen=True)
class File:
    """A file on disk, which is streamed, or the bytes of one that is made for the hub."""

    content: Path | bytes
    bytes: int
    sha256: str

    def describe(self) -> dict[str, Any]:
        """Return size and hash as a manifest lists them."""
        return {"bytes": self.bytes, "sha256": self.sha256}

    def git_oid(self) -> str:
        """Compute git's id of the content, which the hub reports for files outside its LFS storage."""
        content = self.content if isinstance(self.content, bytes) else self.content.read_bytes()
        # git hashes a header with the length first. Strict systems allow sha1 only where it protects nothing.
        return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


class Content(NamedTuple):
    """All that is published; `notes` are printed for the user."""

    kind: Kind
    files: dict[str, File]
    notes: list[str]


def on_disk(path: Path) -> File:
    """Describe the file at `path`. Raises `InputError` if it cannot be read."""
    try:
        return File(path, path.stat().st_size, sha256(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def made(content: bytes) -> File:
    """Describe a file of these bytes."""
    return File(content, len(content), hashlib.sha256(content).hexdigest())


def front_matter(card: Path) -> dict[str, Any]:
    """Read the YAML between the first two lines `---` of a card. Raises `InputError`."""
    try:
        text = card.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{card}: the card cannot be read: {error}") from error
    start, _, rest = text.partition("\n")
    # The hub splits cards at the same lines.
    block, end, _ = rest.partition("\n---\n")
    if start != "---" or not end:
        raise InputError(f"{card}: the card does not begin with front matter (YAML between two lines ---)")
    try:
        content = yaml.safe_load(block)
    except yaml.YAMLError as error:
        raise InputError(f"{card}: the card's front matter is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{card}: the card's front matter must map keys to values")
    return content
