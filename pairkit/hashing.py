"""Content hashes of many files at a time, with a progress bar where that takes seconds."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from pairkit.progress import progress

# Device, inode, size and times.
Stamp = tuple[int, ...]
_BLOCK = 4 * 10**6  # bytes read at once; hashlib lets other threads run meanwhile
_SLOW = 4 * 10**9  # bytes from which on a bar is shown: some seconds from a fast disk


def stamp(path: Path) -> Stamp:
    """Describe the state of a file: if it is equal later, nobody has written to the file since.

    It does not describe the content: a file of other content may have the same size and time of writing.
    Raises `OSError`.
    """
    about = os.stat(path)
    return about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns


def sha256_of(paths: Iterable[Path], purpose: str) -> dict[Path, str]:
    """Return the sha256 of each file's content, in hex. Several files are read at a time.

    Nothing is remembered: size and time of a file may stay while its content changes.

    Args:
        purpose: what the bar of large files says, such as "checking the weights".

    Raises `OSError` for a file that cannot be read.
    """
    files = list(dict.fromkeys(paths))
    total = sum(path.stat().st_size for path in files)
    with ExitStack() as shown:
        advance = shown.enter_context(progress(purpose, total // 10**6, unit="MB")) if total > _SLOW else None

        def hashed(path: Path) -> str:
            digest = hashlib.sha256()
            with path.open("rb") as handle:
                while block := handle.read(_BLOCK):
                    digest.update(block)
                    if advance is not None:
                        advance(len(block) // 10**6)
            return digest.hexdigest()

        # Largest first, because the last file to be started should not be the one that takes longest.
        order = sorted(files, key=lambda path: -path.stat().st_size)
        threads = shown.enter_context(ThreadPoolExecutor(min(8, len(os.sched_getaffinity(0)))))
        return dict(zip(order, threads.map(hashed, order), strict=True))
