"""A server in a thread of the test, at a port of loopback, that answers and ends without waiting."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class Handler(BaseHTTPRequestHandler):
    """What the handlers of tests share."""

    # An answer is two writes, of its headers and of its body: with Nagle's algorithm the second waits until
    # the client has acknowledged the first, which it delays by 40 ms.
    disable_nagle_algorithm = True

    def log_message(self, *arguments: object) -> None:
        """Print nothing."""


@contextmanager
def listening(handler: type[Handler]) -> Iterator[ThreadingHTTPServer]:
    """Run a server with this handler until the end of the block, each request in a thread."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        # `shutdown` waits until the loop looks up: after half a second, if it is not told otherwise.
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.005})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
