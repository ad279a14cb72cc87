"""The files that a push publishes, by their names on the hub."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from pairkit.dataset.layout import CARD, SEAL, sealed
from pairkit.errors import InputError
from pairkit.files import sha256
from pairkit.masking import looks_secret, places_of_secrets
from pairkit.schema import MANIFEST

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
        content = content_of(self)
        # git hashes a header with the length first. Strict systems allow sha1 only where it protects nothing.
        return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


class Content(NamedTuple):
    """All that is published; `notes` are printed for the user, `rows` are those of the Parquet files."""

    kind: Kind
    files: dict[str, File]
    notes: list[str]
    rows: Mapping[str, int] = MappingProxyType({})

    def manifest(self) -> dict[str, Any]:
        """Read the manifest among the files."""
        return json.loads(content_of(self.files[MANIFEST]))  # type: ignore[no-any-return]

    def with_card(self, card: str, about: Mapping[str, Any] = MappingProxyType({})) -> Content:
        """Return the content with another card, and a manifest with its hash and what is `about` it."""
        file, manifest = made(card.encode()), self.manifest()
        files = {**manifest["files"], CARD: file.describe()}
        new_manifest = {**manifest, **about, "files": files}
        manifest_file = as_json(sealed(new_manifest) if SEAL in new_manifest else new_manifest)
        return self._replace(files={**self.files, CARD: file, MANIFEST: manifest_file})


def on_disk(path: Path) -> File:
    """Describe the file at `path`. Raises `InputError` if it cannot be read."""
    try:
        return File(path, path.stat().st_size, sha256(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def inside(path: Path, folder: Path) -> Path:
    """Return `path`. Raises `InputError` if it is, or is reached by, a link out of `folder`."""
    target, root = path.resolve(), folder.resolve()
    if target != root and root not in target.parents:
        raise InputError(
            f"{path}: is a link out of {folder}, to {target}, and a push follows none; replace it with a "
            "copy if it is to be published"
        )
    return path


def check_secrets(where: Path | str, content: Mapping[str, Any]) -> None:
    """Refuse to publish what looks like a secret, or where one was masked. Raises `InputError`."""
    place = next(places_of_secrets(content), None)
    if place is not None:
        raise InputError(
            f"{where}: the key {place!r} holds what looks like a secret, which is not published; take it out "
            "of the recipe (a key for a server is given by api_key_env) and run the recipe again"
        )


def check_text(where: Path | str, text: str) -> None:
    """Refuse to publish a text in which a line holds what looks like a secret. Raises `InputError`."""
    if looks_secret(text):
        lines = text.splitlines()
        # Of several lines together, the first.
        number = next((number for number, line in enumerate(lines, 1) if looks_secret(line)), 1)
        raise InputError(
            f"{where}, line {number}: holds what looks like a secret, which is not published, with any flag; "
            "take it out"
        )


def content_of(file: File) -> bytes:
    """Return the whole content of a file."""
    return file.content if isinstance(file.content, bytes) else file.content.read_bytes()


def made(content: bytes) -> File:
    """Describe a file of these bytes."""
    return File(content, len(content), hashlib.sha256(content).hexdigest())


def read_card(path: Path) -> str:
    """Read the text of a card. Raises `InputError`."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: the card cannot be read: {error}") from error


def read_text(path: Path) -> str:
    """Read a file of text, whatever its bytes are. Raises `InputError`."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def as_json(manifest: Mapping[str, Any]) -> File:
    """Describe the file of a manifest."""
    return made((json.dumps(manifest, ensure_ascii=False, indent=2, sort_keys=True) + "\n").encode())
