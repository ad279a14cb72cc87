"""Whether the input of a build is still what the build began with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pairkit.errors import InputError
from pairkit.hashing import Stamp, sha256_of, stamp
from pairkit.sources import Opened, SourceRecipe, open_source
from pairkit.sources.reading.locate import refuse_own_files, refuse_own_output


def open_input(recipe: SourceRecipe, out: Path) -> Opened:
    """Open the source of a build that writes to `out`, which must not be a part of it.

    Raises `InputError` where it is, and as `open_source` does.
    """
    if recipe.path is not None:
        refuse_own_output(recipe.path, out)
    opened = open_source(recipe)
    # Links may lead there too.
    refuse_own_files(opened.files, out)
    return opened


class Inputs:
    """The files of an opened source, compared with their content when it was opened."""

    def __init__(self, opened: Opened) -> None:
        self.hashes = opened.hashes
        self._stamps = {path: _stamp(path) for path in opened.files}

    def check_written(self) -> None:
        """Hash the files that were written to since the last look, and compare them.

        A shard is closed only after this, because one with rows of other content would be continued by a
        build that finds the first content again.

        Raises `InputError` for a file with other content, or one that is gone.
        """
        stamps = {path: _stamp(path) for path in self._stamps}
        self._compare([path for path in stamps if stamps[path] != self._stamps[path]])
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
            found = sha256_of(paths, "comparing the input")
        except OSError as error:
            raise _changed(Path(error.filename), f"cannot be read any more ({error.strerror})") from error
        for path in paths:
            if found[path] != self.hashes[path]:
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
