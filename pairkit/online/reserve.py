"""One server at an address: two commands that serve at the same port would ask one policy for both."""

from __future__ import annotations

import errno
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from urllib.parse import urlsplit

from pairkit.errors import EngineError
from pairkit.masking import masked
from pairkit.processes.start import LEFT

_LOOK = 0.2  # seconds between two looks
_HERE = frozenset({"localhost", "127.0.0.1", "0.0.0.0", "::1"})


@contextmanager
def reserved(url: str) -> Iterator[list[int]]:
    """Be the only command of pairkit that serves at `url` for the block, where the system is Linux.

    A server that is loading does not answer yet, so that asking cannot tell. Yields the file descriptors
    that hold the reservation: it lasts until all of their copies are closed, in a killed run those of its
    guard.

    Raises `EngineError` while another command has it.
    """
    if sys.platform != "linux":
        yield []
        return
    parts = urlsplit(url)
    host = "localhost" if parts.hostname in _HERE else parts.hostname
    port = parts.port or (443 if parts.scheme == "https" else 80)
    # An abstract name is no file, ends with its last process, and reaches as far as ports do: through the
    # network namespace. Hashed, because it has at most a hundred bytes.
    name = f"\0pairkit online {sha256(f'{host}:{port}'.encode()).hexdigest()}"
    with socket.socket(socket.AF_UNIX) as place:
        until = time.monotonic() + LEFT
        while not _bind(place, name):
            if time.monotonic() > until:
                raise EngineError(
                    f"another pairkit online serves at {masked(url)}: set serve.url and the command to "
                    "another port, or wait until it has ended"
                )
            time.sleep(_LOOK)
        yield [place.fileno()]


def _bind(place: socket.socket, name: str) -> bool:
    try:
        place.bind(name)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return False
        raise
    return True
