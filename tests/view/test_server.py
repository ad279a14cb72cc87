"""The server of `pairkit view`: who gets an answer, and what every answer carries."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from pairkit.errors import InputError, RecipeError
from pairkit.view import server
from pairkit.view.collection import Collection
from pairkit.view.routes import routes_of
from pairkit.view.server import LARGEST_BODY, TOKEN_HEADER, NotFoundError, Request, Running, serving


def refused(request: Request) -> object:
    raise InputError("a.parquet: is damaged")


def unknown(request: Request) -> object:
    raise NotFoundError("no set 'x'")


def broken(request: Request) -> object:
    raise ZeroDivisionError("a defect")


ROUTES = {
    ("GET", "/api/echo"): lambda request: dict(request.parameters),
    ("POST", "/api/echo"): lambda request: {"body": request.body},
    ("GET", "/api/refused"): refused,
    ("GET", "/api/unknown"): unknown,
    ("GET", "/api/broken"): broken,
}


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with serving(ROUTES) as running:
        yield running


def ask(
    running: Running,
    path: str,
    body: object = None,
    *,
    method: str | None = None,
    token: str | None = None,
    content: bytes | None = None,
    **headers: str | None,
) -> Answer:
    """Ask as the page does; `headers` replace what it sends, with _ for -, None leaves one out."""
    host = f"127.0.0.1:{running.port}"
    sent: dict[str, str | None] = {"Host": host, TOKEN_HEADER: running.token if token is None else token}
    if body is not None or content is not None:
        content = json.dumps(body).encode() if content is None else content
        sent |= {"Origin": f"http://{host}", "Content-Type": "application/json"}
        sent["Content-Length"] = str(len(content))
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=20)
    try:
        connection.putrequest(method or ("GET" if content is None else "POST"), path, skip_host=True)
        for name, value in sent.items():
            if value is not None:
                connection.putheader(name, value)
        connection.endheaders(content)
        answer = connection.getresponse()
        return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def test_the_page_needs_no_token_and_data_does(running: Running) -> None:
    page = ask(running, "/", token="")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert ask(running, "/api/echo?a=1&b=", token="").status == 401
    assert ask(running, "/api/echo?a=1&b=").json == {"a": "1", "b": ""}
    assert ask(running, "/api/echo", {"x": [1]}).json == {"body": {"x": [1]}}


@pytest.mark.parametrize("token", ["", "x", "é", "null"])
def test_another_token_is_refused_before_anything_is_done(token: str, running: Running) -> None:
    for path, body in (("/api/broken", None), ("/api/echo", {})):
        answer = ask(running, path, body, token=token)
        assert (answer.status, answer.json) == (401, {"error": "the token is missing or of another start"})


def test_a_prefix_of_the_token_and_the_token_of_another_start_are_refused(running: Running) -> None:
    assert ask(running, "/api/echo", token=running.token[:-1]).status == 401
    with serving(ROUTES) as other:
        assert other.token != running.token
        assert ask(running, "/api/echo", token=other.token).status == 401
    assert len(running.token) >= 43  # 256 bits


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:80", "", "[::1]:80", "localhost.", "0.0.0.0"]
)
def test_a_name_that_another_site_can_have_is_refused(host: str, running: Running) -> None:
    """DNS rebinding: a page of evil.example whose name has come to mean 127.0.0.1."""
    for path in ("/", "/api/echo"):
        answer = ask(running, path, Host=host)
        assert answer.status == 403
        assert b"token" not in answer.content


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1:8000", "localhost"])
def test_a_forwarded_port_is_answered(host: str, running: Running) -> None:
    assert ask(running, "/api/echo", Host=host).status == 200
    assert ask(running, "/api/echo", {}, Host=host, Origin=f"http://{host}").status == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1", "http://127.0.0.1:1", "http://localhost"]
)
def test_another_origin_is_refused_with_the_right_token_too(origin: str, running: Running) -> None:
    assert ask(running, "/api/echo", {}, Origin=origin).status == 403
    assert ask(running, "/api/echo", Origin=origin).status == 403


def test_a_post_needs_an_origin(running: Running) -> None:
    assert ask(running, "/api/echo", {}, Origin=None).status == 403


def test_bodies_are_bounded_and_json(running: Running) -> None:
    assert ask(running, "/api/echo", content=b" " * (LARGEST_BODY - 2) + b"{}").status == 200
    # Refused by what is announced: nothing of it is read.
    for length in (LARGEST_BODY + 1, 10**15):
        assert ask(running, "/api/echo", {}, Content_Length=str(length)).status == 413
    for length in (None, "-1", "x", "²"):
        assert ask(running, "/api/echo", {}, Content_Length=length).status == 411
    assert (
        ask(running, "/api/echo", content=b"2\r\n{}\r\n0\r\n\r\n", Transfer_Encoding="chunked").status == 411
    )
    assert ask(running, "/api/echo", content=b"{").status == 400
    assert ask(running, "/api/echo", content=b"[" * 100_000).status == 400
    # What a form of another site can send without asking first.
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        assert ask(running, "/api/echo", {}, Content_Type=kind).status == 415


def post_of(running: Running, content: bytes, length: int) -> bytes:
    host = f"127.0.0.1:{running.port}"
    fields = {"Host": host, "Origin": f"http://{host}", TOKEN_HEADER: running.token}
    fields |= {"Content-Type": "application/json", "Content-Length": str(length)}
    lines = ["POST /api/echo HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode() + content


def test_a_body_that_does_not_arrive_is_no_defect(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(server._Handler, "timeout", 0.2)
    with serving(ROUTES) as running:
        with socket.create_connection(("127.0.0.1", running.port), timeout=20) as slow:
            slow.sendall(post_of(running, b"{", 100))
            assert slow.recv(1 << 16).startswith(b"HTTP/1.1 408 ")
        with socket.create_connection(("127.0.0.1", running.port)) as cut:
            cut.sendall(post_of(running, b"{", 100))
            cut.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # reset
        assert ask(running, "/api/echo").status == 200
    assert capsys.readouterr().err == ""


def test_a_body_of_lists_in_lists_is_no_defect(five: Collection, capsys: pytest.CaptureFixture[str]) -> None:
    deep = b"[" * 1000 + b"]" * 1000
    with serving(routes_of(five)) as running:
        for content in (deep, b'{"filters": {"margin": %b}}' % deep):
            assert ask(running, "/api/query", content=content).status == 400
    assert capsys.readouterr().err == ""


def test_errors_are_json_and_a_defect_does_not_end_the_server(
    running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(running, "/api/refused")[::2] == (400, b'{"error":"a.parquet: is damaged"}')
    assert ask(running, "/api/unknown").status == 404
    answer = ask(running, "/api/broken")
    assert (answer.status, "ZeroDivisionError: a defect" in answer.json["error"]) == (500, True)
    assert "in broken" in capsys.readouterr().err
    assert ask(running, "/api/echo").status == 200


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/../server.py", "/%2e%2e/server.py", "/index.html", "//evil.example/", "/api/nothing"],
)
def test_nothing_but_the_files_of_the_page_is_served(path: str, running: Running) -> None:
    assert ask(running, path).status == 404


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE", "HEAD", "PROPFIND"])
def test_other_methods_are_refused(method: str, running: Running) -> None:
    answer = ask(running, "/api/echo", method=method)
    assert answer.status == 501
    assert "access-control-allow-origin" not in answer.headers


def test_every_answer_has_the_headers_that_keep_texts_texts(running: Running) -> None:
    answers = [
        ask(running, path) for path in ("/", "/main.js", "/view.css", "/api/echo", "/api/refused", "/no")
    ]
    answers += [ask(running, "/", Host="evil.example"), ask(running, "/", method="PUT")]
    for answer in answers:
        policy = answer.headers["content-security-policy"].split("; ")
        assert "default-src 'none'" in policy
        assert "require-trusted-types-for 'script'" in policy
        assert not any("unsafe" in rule or "*" in rule or "data:" in rule for rule in policy)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["server"] == "pairkit"


def test_it_listens_on_this_machine_alone(running: Running) -> None:
    with socket.create_connection(("127.0.0.1", running.port)) as connection:
        assert connection.getpeername()[0] == "127.0.0.1"
    with pytest.raises(OSError):
        # Also this machine: a server on 0.0.0.0 would answer.
        socket.create_connection(("127.0.0.2", running.port), timeout=5)


def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(RecipeError, match=f"--port {port}: in use by another program; give another"),
            serving(ROUTES, port=port),
        ):
            pass


def test_the_same_port_can_be_used_again_at_once() -> None:
    with serving(ROUTES) as first:
        assert ask(first, "/api/echo").status == 200
    with serving(ROUTES, port=first.port) as second:
        assert (second.port, ask(second, "/api/echo").status) == (first.port, 200)
        assert ask(second, "/api/echo", token=first.token).status == 401


def test_a_connection_is_used_again_and_one_that_is_cut_is_no_defect(
    running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=20)
    for number in range(3):
        connection.request("GET", f"/api/echo?n={number}", headers={TOKEN_HEADER: running.token})
        assert json.loads(connection.getresponse().read()) == {"n": str(number)}
    connection.close()
    with socket.create_connection(("127.0.0.1", running.port)) as cut:
        cut.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        cut.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # reset instead of an end
    assert ask(running, "/api/echo").status == 200
    assert capsys.readouterr().err == ""


def test_a_silent_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server._Handler, "timeout", 0.05)
    with (
        serving(ROUTES) as running,
        socket.create_connection(("127.0.0.1", running.port), timeout=20) as silent,
    ):
        silent.sendall(b"GET / HTTP/1.1\r\n")
        assert silent.recv(1) == b""
