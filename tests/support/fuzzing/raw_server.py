"""An HTTP server in a thread that answers with any bytes, headers included, and closes each connection."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

MODELS = b'{"data": [{"id": "tiny"}]}'


@dataclass
class RawServer:
    """A running server: `answers` holds what its next POST requests get, the last of them for all others."""

    port: int = 0
    answers: list[bytes] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def next(self) -> bytes:
        with self.lock:
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def response(content: bytes, status: int = 200, kind: str = "application/json", more: str = "") -> bytes:
    """Write an HTTP response."""
    head = f"HTTP/1.1 {status} Whatever\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n{more}"
    return head.encode() + b"Connection: close\r\n\r\n" + content


@contextmanager
def raw_server() -> Iterator[RawServer]:
    """Run the server in a thread; it ends with the block."""
    running = RawServer()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            first, length = self.rfile.readline(), 0
            while (line := self.rfile.readline().strip()) != b"":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            self.rfile.read(length)
            # A client that has seen enough closes the connection.
            with suppress(OSError):
                self.wfile.write(response(MODELS) if first.startswith(b"GET") else running.next())
                self.connection.shutdown(socket.SHUT_WR)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads, allow_reuse_address = True, True

    with Server(("127.0.0.1", 0), Handler) as server:
        running.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield running
        finally:
            server.shutdown()
            thread.join()
