"""A TCP proxy in front of a store: it lets so many uploads through, then hangs or is gone."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

# The first request of an upload of a file; the marker, the probe and the manifest do not count.
_UPLOAD = re.compile(rb"POST /[^ ]*/(?!\.pairkit|pairkit\.json)[^/ ]+\?uploads")


class Gate:
    """Forwards connections to `port`; after `most` uploads (None: any number) it does what `then` says."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.most: int | None = None
        self.then = "hang"
        self.reached = threading.Event()
        self.uploads = 0
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def open(self) -> None:
        """Let everything through from now on."""
        self.most, self.uploads = None, 0
        self.reached.clear()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        if self.reached.is_set() and self.then == "drop":
            client.close()
            return
        with suppress(OSError), client, socket.create_connection(("127.0.0.1", self._target)) as server:
            threading.Thread(target=_copy, args=(server, client), daemon=True).start()
            while chunk := client.recv(1 << 16):
                if not self._passes(chunk):
                    # Hanging is not answering: the connection stays open until the client is gone.
                    while self.then == "hang" and client.recv(1 << 16):
                        pass
                    return
                server.sendall(chunk)

    def _passes(self, chunk: bytes) -> bool:
        with self._lock:
            self.uploads += len(_UPLOAD.findall(chunk))
            if self.most is not None and self.uploads > self.most:
                self.reached.set()
        return not self.reached.is_set()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(1 << 16):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)


@contextmanager
def gate(port: int) -> Iterator[Gate]:
    made = Gate(port)
    try:
        yield made
    finally:
        made.close()
