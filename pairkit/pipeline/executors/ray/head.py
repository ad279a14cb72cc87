"""A watch on the head of a cluster: Ray ends a process that cannot reach it for a minute, without a word."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

from pairkit.progress import log

_PAUSE = 4.0  # seconds between two questions
_SILENT = 2  # questions without an answer, one after the other, until a line says so


@contextmanager
def watched(address: str) -> Iterator[None]:
    """Say while the block runs that the head of a cluster, HOST:PORT, does not answer, once per silence."""
    ended = Event()
    thread = Thread(target=_watch, args=(address, ended), name="head", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _watch(address: str, ended: Event) -> None:
    silent = 0
    while not ended.wait(_PAUSE):
        silent = 0 if _answers(address) else silent + 1
        if silent == _SILENT:
            log(
                f"the head of the Ray cluster, {address}, does not answer; unless it comes back within a "
                "minute, Ray ends this process with exit code 1: run the same command again to continue"
            )


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PAUSE).close()
    except OSError:
        return False
    return True
