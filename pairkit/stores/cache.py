"""Files of stores on this machine: each version of a file is downloaded once.

`objects/` holds the content of each version of a file, `inputs/` folders with the names of what a build
reads: links to the objects, so that nothing is held twice and no build changes what another one reads.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pairkit.errors import InputError
from pairkit.files import link_or_copy, replacing
from pairkit.progress import Advance, progress
from pairkit.schema import short_hash
from pairkit.stores.store import Store, safe_name

_THREADS = 8  # requests wait for the network, not for a processor
_OWN = str(os.getpid())


def cache_folder() -> Path:
    """Return PAIRKIT_CACHE, or `pairkit` in the user's folder of caches."""
    folder = os.environ.get("PAIRKIT_CACHE")
    if folder:
        return Path(folder).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "pairkit"


def snapshot(store: Store, sizes: Mapping[str, int]) -> Path:
    """Download files of a store, each under its name below the folder that is returned.

    The folder is one of these versions of these files: later versions get another one.

    Args:
        sizes: bytes of each file, from `Store.files`.

    Raises `InputError` for a file that cannot be read or that changes meanwhile, and for a name that would
    lead out of the folder; `OutputError` if the disk is full.
    """
    if wrong := next((name for name in sizes if name and not safe_name(name)), None):
        raise InputError(
            f"{store.address}: the name {wrong!r} of a file is no path below it; rename the file"
        )
    with ThreadPoolExecutor(_THREADS) as threads:
        versions = dict(zip(sizes, threads.map(store.version, sizes), strict=True))
    folder = cache_folder() / "inputs" / short_hash([str(store.address), sorted(versions.items())])
    missing = [name for name in sizes if not _local(folder, store, name).is_file()]
    if not missing:
        return folder
    total = sum(sizes[name] for name in missing)
    with progress(f"Downloading {store.address}", max(1, total // 10**6), unit="MB") as advance:
        for_each(
            missing, lambda name: _fetch(store, name, versions[name], sizes[name], folder, advance), _THREADS
        )
    return folder


def for_each(names: Iterable[str], work: Callable[[str], None], threads: int) -> None:
    """Do some work for each name, some at a time; the first error ends it."""
    with ThreadPoolExecutor(threads) as pool:
        try:
            for _ in pool.map(work, names):
                pass
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _local(folder: Path, store: Store, name: str) -> Path:
    # A single file keeps its name, by which its format is known.
    return folder / (name or store.address.path.rpartition("/")[2])


def _fetch(store: Store, name: str, version: str, size: int, folder: Path, advance: Advance) -> None:
    content = cache_folder() / "objects" / short_hash([f"{store.address}/{name}".rstrip("/"), version])
    if not content.is_file():
        content.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Two processes may download the same file; either's is right.
        with replacing(content, own=_OWN) as temporary:
            store.download(name, temporary)
            actual_size = temporary.stat().st_size
            # Asked again, because a file is read in many requests, between which it may be replaced.
            if actual_size != size or store.version(name) != version:
                raise InputError(
                    f"{store.address}/{name}".rstrip("/")
                    + f": was changed while it was read ({actual_size:,} of {size:,} bytes); run the command "
                    "again"
                )
    advance(size // 10**6)
    target = _local(folder, store, name)
    with replacing(target, own=_OWN) as temporary:
        # Of a process of this number that was killed.
        temporary.unlink(missing_ok=True)
        link_or_copy(content, temporary)
