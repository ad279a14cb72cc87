"""Whether the input of a build is still what the build began with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from pairkit.errors import InputError
from pairkit.hashing import Stamp, sha256_of, stamp
from pairkit.sources import Opened, SourceRecipe, open_source
from pairkit.sources.base import Mixture
from pairkit.sources.mixed import open_mixture
from pairkit.sources.reading.locate import refuse_own_files, refuse_own_output

Batch = TypeVar("Batch")


def open_input(recipe: SourceRecipe | Mixture, out: Path) -> Opened:
    """Open the source or the sources of a build that writes to `out`, which must not be a part of them.

    Raises `InputError` where it is, and as `open_source` and `open_mixture` do.
    """
    for source in [entry.source for entry in recipe.sources] if isinstance(recipe, Mixture) else [recipe]:
        if source.path is not None:
            refuse_own_output(source.path, out)
    opened = open_mixture(recipe) if isinstance(recipe, Mixture) else open_source(recipe)
    # Links may lead there too.
    refuse_own_files(opened.files, out)
    return opened


class Inputs:
    """The files of an opened source, compared with their content when it was opened."""

    def __init__(self, opened: Opened) -> None:
        self.hashes = opened.hashes
        self._stamps = dict(opened.stamps)
        self._read = False  # to the end
        self._read_before = False  # at the last look

    def reading(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the same batches, and note when there are no more."""
        yield from batches
        self._read = True

    def check_written(self) -> None:
        """Hash the files that were written to since the last look, and compare them.

        Of a file that was written to while it was read, the content of now does not tell what was read: it
        may have been replaced and put back. Its times do, because nobody can put back when its inode changed.

        A shard is closed only after this, because one with rows of other content would be continued by a
        build that finds the first content again.

        Raises `InputError` for a file with other content, one that is gone, or one that was written to while
        it was read.
        """
        # Asked before the files are, which may be written to in between.
        read_before, self._read_before = self._read_before, self._read
        stamps = {path: _stamp(path) for path in self._stamps}
        paths = [path for path in stamps if stamps[path] != self._stamps[path]]
        self._compare(paths)
        if paths and not read_before:
            raise _changed(
                paths[0], "was written to or replaced while it was read, if only by the same content"
            )
        self._stamps = stamps

    def described(self) -> list[dict[str, Any]]:
        """Hash every file and describe it for the manifest. Raises `InputError` as `check_written` does."""
        paths = list(self._stamps)
        self._compare(paths)
        # Names, because a path would publish the folders of this machine.
        return [
            {"name": path.name, "bytes": path.stat().st_size, "sha256": self.hashes[path]} for path in paths
        ]

    def _compare(self, paths: list[Path]) -> None:
        try:
            hashes = sha256_of(paths, "comparing the input")
        except OSError as error:
            raise _changed(Path(error.filename), f"cannot be read any more ({error.strerror})") from error
        for path in paths:
            if hashes[path] != self.hashes[path]:
                raise _changed(path, "was changed while the dataset was being built from it")


def _stamp(path: Path) -> Stamp:
    try:
        return stamp(path)
    except OSError as error:
        raise _changed(path, f"cannot be read any more ({error.strerror})") from error


def _changed(path: Path, what: str) -> InputError:
    return InputError(
        f"{path}: {what}; nothing was published. Run the same command again, once nobody writes to the "
        "input, to build from what it is then"
    )
