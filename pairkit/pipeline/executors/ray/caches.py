"""The cache of calls on every node of a cluster, joined into the driver's.

A process on the driver's node uses the driver's file. Another node has a file of its own, in a private folder
of its temporary files, and asks the driver for what was stored before. The rows of these files come into the
driver's file at the end of a build, or at the beginning of the next one if the driver was killed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import sqlite3
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pairkit.engines.base import Result
from pairkit.engines.cache import Cache, Row, rows_of
from pairkit.errors import OutputError
from pairkit.pipeline.executors.ray.cluster import on_node
from pairkit.progress import warn

_SUFFIX, _LOCK = ".sqlite", ".lock"


def name_of(cache: Path) -> str:
    """Return a name for the nodes' files of the driver's cache: the same for every build that uses it."""
    return hashlib.sha256(f"{platform.node()}\0{cache.absolute()}".encode()).hexdigest()[:16]


class Answers:
    """An actor next to the driver that reads its cache for other nodes."""

    def __init__(self, path: Path, retry_failed: bool) -> None:
        self._cache = Cache(path, retry_failed=retry_failed)

    def get(self, key: bytes) -> tuple[Result, ...] | None:
        return self._cache.get(key)


class NodeCache(Cache):
    """The file of this node; `ask` looks up in what the driver had stored before."""

    def __init__(
        self,
        name: str,
        run: str,
        ask: Callable[[bytes], tuple[Result, ...] | None] | None,
        *,
        retry_failed: bool,
    ) -> None:
        path = _folder(name) / f"{run}{_SUFFIX}"
        # Held as long as the process lives, so that no other build takes the file for one that was left.
        self._lock = os.open(path.with_suffix(_LOCK), os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_SH)
        self._ask = ask
        super().__init__(path, retry_failed=retry_failed)

    def get(self, key: bytes) -> tuple[Result, ...] | None:
        results = super().get(key)
        if results is None and self._ask is not None:
            results = self._ask(key)
            self.hits += results is not None
        return results


def left(name: str, run: str) -> Iterator[tuple[str, Sequence[Row]]]:
    """Yield the rows of this node's files, each with its name: that of `run`, and those left over."""
    for path in sorted(_folder(name).glob(f"*{_SUFFIX}")):
        if path.stem != run and _is_used(path):
            continue
        try:
            for rows in rows_of(path):
                yield path.name, rows
        except sqlite3.Error:  # damaged: its answers are asked for again
            yield path.name, []


def removed(name: str, files: Sequence[str]) -> Iterator[str]:
    """Remove files of this node whose rows the driver has stored, and yield their names."""
    for file in files:
        path = _folder(name) / file
        for each in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
            each.unlink(missing_ok=True)
        path.with_suffix(_LOCK).unlink(missing_ok=True)
        yield file


def merge(cache: Cache, name: str, run: str, call: Callable[..., Iterator[Any]]) -> None:
    """Store the rows of a node's files in the driver's cache, then remove the files.

    `call` runs a generator function of this module on the node and yields its values.
    """
    files = set()
    for file, rows in call(left, name, run):
        cache.add(rows)
        files.add(file)
    # After all of them are on disk here.
    for _ in call(removed, name, sorted(files)):
        pass


def merge_nodes(cache: Cache, name: str, run: str, nodes: Sequence[str]) -> None:
    """Store what other nodes have stored in the driver's cache. A node that is lost is named and left out."""
    import ray

    for node in nodes:
        try:
            merge(cache, name, f"{run}-{node}", partial(_on, node))
        except ray.exceptions.RayTaskError:
            raise  # a defect, with the traceback of its process
        except ray.exceptions.RayError:
            # Its units were given to others, so that the build has all that it needs.
            warn(
                f"node {node[:8]} is lost, with the answers of models that were stored there alone: they are "
                "asked for again"
            )


def _on(node: str, function: Callable[..., Iterator[Any]], *arguments: Any) -> Iterator[Any]:
    """Call a generator function on a node, and yield its values."""
    import ray

    call = ray.remote(function).options(num_returns="streaming", **on_node(node))
    for reference in call.remote(*arguments):
        yield ray.get(reference)


def _is_used(path: Path) -> bool:
    lock = path.with_suffix(_LOCK)
    if not lock.exists():
        return False
    with lock.open("rb") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _folder(name: str) -> Path:
    """Return a folder that nobody else can write to: temporary files are everybody's."""
    folder = Path(tempfile.gettempdir()) / f"pairkit-calls-{os.getuid()}"
    for each in (folder, folder / name):
        each.mkdir(mode=0o700, exist_ok=True)
        status = each.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
            raise OutputError(
                f"{each} on {platform.node()} is not a folder of this user alone: remove it; answers of "
                "models are stored there until the build has ended"
            )
    return folder / name
