"""The web server of `pairkit view`: a page, and answers in JSON to whoever has the token, on this machine.

Other users of the machine, and every page that the browser has open, can connect to 127.0.0.1: each request
for data needs a token that is new at every start, a host name that no other site can have, and the page's
own origin.
"""

from __future__ import annotations

import errno
import hmac
import secrets
import socket
import socketserver
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson

from pairkit.errors import PairkitError, RecipeError

HOST = "127.0.0.1"
NAMES = frozenset({HOST, "localhost"})  # with any port, because ssh may forward another one to this
TOKEN_HEADER = "X-Pairkit-Token"
LARGEST_BODY = 1 << 20  # bytes
PATIENCE = 60.0  # seconds until a connection that sends nothing is closed

_PAGE = Path(__file__).with_name("page")
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# No text can become a script, also not through a mistake of ours: the browser refuses inline scripts and
# styles, requests to anywhere else, and every assignment of a string to something that is parsed as HTML.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True)
class Request:
    """What a route is asked: the parameters of the address, and the body, parsed (None of a GET)."""

    parameters: Mapping[str, str]
    body: Any = None


Route = Callable[[Request], object]
Routes = Mapping[tuple[str, str], Route]  # by method and path, such as ("GET", "/api/about")


class NotFoundError(PairkitError):
    """A set or a row that the collection does not have."""


class _Refusal(Exception):
    """A request that gets no data, and why."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Running:
    """A server that answers: its port, and the token that requests for data need."""

    port: int
    token: str

    @property
    def address(self) -> str:
        """The page's address. After the #, where no server, log or `Referer` gets it: the token."""
        return f"http://{HOST}:{self.port}/#token={self.token}"


@contextmanager
def serving(routes: Routes, *, port: int | None = None) -> Iterator[Running]:
    """Answer requests in threads until the block ends.

    Args:
        port: None for a free one.

    Raises `RecipeError` for a port that is in use or reserved.
    """
    token = secrets.token_urlsafe(32)
    try:
        server = _Server(port or 0, routes, token)
    except OSError as error:
        why = {errno.EADDRINUSE: "in use by another program", errno.EACCES: "reserved for the system"}
        problem = why.get(error.errno or 0, str(error))
        raise RecipeError(f"--port {port}: {problem}; give another one, or none for a free one") from None
    with server:
        thread = Thread(target=server.serve_forever, name="pairkit view", daemon=True)
        thread.start()
        try:
            yield Running(server.server_address[1], token)
        finally:
            server.shutdown()
            thread.join()
            server.hang_up()


class _Server(ThreadingHTTPServer):
    daemon_threads = True  # a connection that the browser keeps open must not hold up the end

    def __init__(self, port: int, routes: Routes, token: str) -> None:
        self.routes = routes
        self.token = token.encode()
        self.connections: set[socket.socket] = set()
        # Read once: what a request names is looked up here, and is never a path.
        self.files = {
            f"/{file.name}": (_TYPES[file.suffix], file.read_bytes())
            for file in sorted(_PAGE.iterdir())
            if file.suffix in _TYPES
        }
        self.files["/"] = self.files.pop("/index.html")
        super().__init__((HOST, port), _Handler)

    def server_bind(self) -> None:
        # Without the search for this machine's name in HTTPServer, which may wait for a name server.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """Close the connections that browsers keep open, so that nothing is answered after the end."""
        for connection in list(self.connections):
            with suppress(OSError):  # closed in this moment
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A browser that goes to another page closes its connections; everything else is a defect.
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = PATIENCE
    server: _Server

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        try:
            kind, content = self._reply()
        except _Refusal as refusal:
            self._send_problem(refusal.status, str(refusal))
        except NotFoundError as error:
            self._send_problem(HTTPStatus.NOT_FOUND, str(error))
        except PairkitError as error:
            self._send_problem(HTTPStatus.BAD_REQUEST, str(error))
        except RecursionError:
            # Lists in lists, up to 1024 of them, cannot be shown in a message.
            self._send_problem(HTTPStatus.BAD_REQUEST, "the body is nested too deep")
        except Exception as error:
            # A defect, for the terminal; the page goes on with the other sets.
            traceback.print_exc()
            message = f"{type(error).__name__}: {error}; the terminal of pairkit view shows where"
            self._send_problem(HTTPStatus.INTERNAL_SERVER_ERROR, message)
        else:
            self._send(HTTPStatus.OK, kind, content)

    def _reply(self) -> tuple[str, bytes]:
        """Return the type and the content of the answer. Raises `_Refusal` and whatever a route raises."""
        self._check_names()
        address = urlsplit(self.path)
        if self.command == "GET" and address.path in self.server.files:
            return self.server.files[address.path]
        if not address.path.startswith("/api/"):
            raise _Refusal(HTTPStatus.NOT_FOUND, f"no page {address.path}")
        self._check_token()
        route = self.server.routes.get((self.command, address.path))
        if route is None:
            raise _Refusal(HTTPStatus.NOT_FOUND, f"no {self.command} {address.path}")
        body = self._body() if self.command == "POST" else None
        try:
            parameters = dict(parse_qsl(address.query, keep_blank_values=True, max_num_fields=20))
        except ValueError as error:
            raise _Refusal(HTTPStatus.BAD_REQUEST, str(error)) from None
        return "application/json", orjson.dumps(route(Request(parameters, body)))

    def _check_names(self) -> None:
        """Refuse what another site has sent: by its name for this machine (DNS rebinding), or its origin."""
        host = self.headers.get("Host", "")
        if host.rpartition(":")[0] not in NAMES and host not in NAMES:
            raise _Refusal(HTTPStatus.FORBIDDEN, f"host {host!r} is not {HOST} or localhost")
        origin = self.headers.get("Origin")
        # Browsers send it with every POST.
        if origin != f"http://{host}" and (origin is not None or self.command == "POST"):
            raise _Refusal(HTTPStatus.FORBIDDEN, f"origin {origin!r} is not this page")

    def _check_token(self) -> None:
        token = self.headers.get(TOKEN_HEADER, "").encode("utf-8", "replace")
        # In constant time: how long it takes must not tell how much of a guess is right.
        if not hmac.compare_digest(token, self.server.token):
            raise _Refusal(HTTPStatus.UNAUTHORIZED, "the token is missing or of another start")

    def _body(self) -> Any:
        length = self.headers.get("Content-Length", "")
        if self.headers.get("Transfer-Encoding") or not (length.isascii() and length.isdigit()):
            raise _Refusal(HTTPStatus.LENGTH_REQUIRED, "the body needs a Content-Length")
        if int(length) > LARGEST_BODY:
            message = f"the body has {int(length):,} bytes; at most {LARGEST_BODY:,} are read"
            raise _Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)
        if self.headers.get_content_type() != "application/json":
            raise _Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the body must be application/json")
        try:
            content = self.rfile.read(int(length))
        except (ConnectionError, TimeoutError):
            # Not a defect of this server, whose traceback would be printed.
            raise _Refusal(HTTPStatus.REQUEST_TIMEOUT, "the body did not arrive") from None
        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError as error:
            raise _Refusal(HTTPStatus.BAD_REQUEST, f"the body is not JSON: {error}") from None

    def _send_problem(self, status: HTTPStatus, message: str) -> None:
        # What is left of the body would be read as the next request.
        self.close_connection = True
        self._send(status, "application/json", orjson.dumps({"error": message}))

    def _send(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        self.send_response(status)
        for name, value in {**_HEADERS, "Content-Type": kind, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what http.server itself refuses, such as another method, as everything else is answered."""
        status = HTTPStatus(code)
        self._send_problem(status, message or status.phrase)

    def version_string(self) -> str:
        """Return what the header `Server` says: not which Python this is."""
        return "pairkit"

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the terminal is for the address and for problems."""
