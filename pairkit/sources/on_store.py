"""Input on an object store: the files that an address names, downloaded to be read like files on disk.

Layouts are recognized by all rows, and the input is identified by its content: each file is read several
times, and more often by a build that continues. So it is downloaded once, in the version that it has, and a
build from a store is the same build as one from a copy of its files.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable
from pathlib import Path

from pairkit.errors import InputError
from pairkit.readers.formats import has_format
from pairkit.readers.saved import SPLITS, STATE
from pairkit.schema import MANIFEST
from pairkit.sources.patterns import fixed_part, is_named, matches
from pairkit.stores.address import Address, parse
from pairkit.stores.cache import snapshot
from pairkit.stores.store import open_store


def downloaded(text: str, split: str) -> str:
    """Download what an address names: a file, the files below a folder, or those of a glob.

    Of a folder, those that a build of this `split` would read. Returns what to read instead of the address: a
    file, a folder or a glob on this machine.

    Raises `RecipeError` for what is no address of a store, `InputError` if there is nothing or it cannot be
    read, `MissingExtraError` without the library of the store.
    """
    address = parse(text)
    if glob.has_magic(address.path):
        return _downloaded_glob(address)
    store = open_store(address)
    size = store.size()
    if size is not None:
        return str(snapshot(store, {"": size}) / Path(address.path).name)
    sizes = store.files()
    if not sizes:
        raise InputError(f"{text}: no such file or folder")
    selection = {name: sizes[name] for name in _read(sizes, split)}
    if not selection:
        raise InputError(f"{text}: contains no file that pairkit reads")
    return str(snapshot(store, selection))


def _downloaded_glob(address: Address) -> str:
    root, pattern = fixed_part(address.path)
    store = open_store(Address(address.scheme, root))
    selection = {name: size for name, size in store.files().items() if matches(name, pattern)}
    if not selection:
        raise InputError(f"{address}: no file matches")
    return str(Path(glob.escape(str(snapshot(store, selection)))) / pattern)


def _read(names: Iterable[str], split: str) -> list[str]:
    """Return those files of a folder that may be read, so that no others are downloaded."""
    visible = [name for name in names if not any(part.startswith(".") for part in name.split("/"))]
    # Of a dataset that pairkit built, the sets.
    if MANIFEST in visible:
        visible = [name for name in visible if name == MANIFEST or name.startswith("data/")]
    data_files = [name for name in visible if has_format(Path(name))]
    of_split = [name for name in data_files if is_named(split, name)]
    # Which files of a saved dataset are read is in descriptions of other names.
    if not of_split or any(Path(name).name in (STATE, SPLITS) for name in data_files):
        return data_files
    return [*of_split, *([MANIFEST] if MANIFEST in data_files else [])]
