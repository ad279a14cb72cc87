"""Whether what an unfinished build has on disk is what it wrote, before it is continued or published.

A disk or a person may have changed it since; the dataset would then have wrong rows under right hashes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pairkit.hashing import sha256_of
from pairkit.pipeline import shards
from pairkit.pipeline.directory import BuildDirectory, cannot_continue
from pairkit.pipeline.shards import Contents


def verified(directory: BuildDirectory) -> list[Contents]:
    """Return the contents of the closed shards, in order, after hashing their files.

    Raises `ExistingOutputError`: a shard is missing, or a file is missing or has another content. Trying
    again does not help then, so the error says what does.
    """
    folders = directory.shards()
    contents = [_read(directory, folder) for folder in folders]
    _check_numbers(directory, folders, contents)
    digests: dict[Path, str] = {}
    for (number, name), published in shards.published_names(contents).items():
        part, moved = shards.file_of(folders[number], name), directory.out / published
        # A publication that was stopped has moved some; it begins when the last shard is closed.
        was_moved = contents[-1].last and not part.exists() and moved.exists()
        path = moved if was_moved else part
        digests[path] = contents[number].files[name]["sha256"]
    for folder, shard in zip(folders, contents, strict=True):
        for name in shards.KEPT.keys() & shard.files.keys():
            digests[shards.file_of(folder, name)] = shard.files[name]["sha256"]
    for path in digests:
        if not path.is_file():
            raise cannot_continue(directory.out, f"{path} is missing")
    try:
        hashes = sha256_of(digests, "checking closed shards")
    except OSError as error:
        raise cannot_continue(directory.out, f"{error.filename}: {error.strerror}") from error
    for path, digest in digests.items():
        if hashes[path] != digest:
            raise cannot_continue(directory.out, f"{path} was changed since it was written")
    return contents


def _read(directory: BuildDirectory, folder: Path) -> Contents:
    try:
        return shards.read_contents(folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise cannot_continue(directory.out, f"{folder / shards.MARKER} is damaged ({error})") from error


def _check_numbers(directory: BuildDirectory, folders: Sequence[Path], contents: Sequence[Contents]) -> None:
    """Check that no shard is missing and that each begins with the unit at which the one before ended."""
    next_unit, last = 0, False
    for number, (folder, shard) in enumerate(zip(folders, contents, strict=True)):
        if folder != directory.shard(number):
            raise cannot_continue(directory.out, f"{directory.shard(number)} is missing")
        # None in a shard of a version that did not write them.
        if shard.built not in (None, directory.built):
            raise cannot_continue(directory.out, f"{folder} belongs to another build")
        if last or shard.first_unit not in (None, next_unit):
            raise cannot_continue(directory.out, f"{folder} does not follow the shard before it")
        next_unit, last = shard.next_unit, shard.last
