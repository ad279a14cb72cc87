"""What answers at the address of a server that is not, or not yet, the policy's."""

from __future__ import annotations

import shlex
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
from support.serving import Handler, listening

from pairkit.errors import EngineError, RecipeError
from pairkit.online import serve
from pairkit.online.recipe import Serve
from pairkit.recipes import validate

GENERATE: Any = SimpleNamespace(
    model_fields_set={"base_url"}, base_url="http://127.0.0.1/v1", api_key_env="PAIRKIT_TEST_KEY"
)


def answering(status: int, body: bytes = b"{}", **headers: str) -> type[Handler]:
    """Make a handler that answers all with one thing."""

    class Fixed(Handler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    return Fixed


class Dripping(Handler):
    """Sends a byte now and then, without an end."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(0.05)
        except OSError:
            pass


@contextmanager
def speaking(greeting: bytes) -> Iterator[str]:
    """Listen at a port, and send a greeting to each connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(1000)
                    connection.sendall(greeting)

        thread = Thread(target=greet, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


@contextmanager
def url_of(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with listening(handler) as server:  # type: ignore[arg-type]
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"


def settings(url: str, command: str = "sh -c 'sleep 60' {model}", seconds: float = 0.1) -> Serve:
    return validate(Serve, {"command": command, "url": url, "seconds": seconds})


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for nobody."""
    monkeypatch.setattr(serve, "LEFT", 0.0)
    monkeypatch.setattr(serve, "_ANSWER", 0.5)


@pytest.mark.default("500", "401", "html", "dripping")
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "handler",
    [answering(200, b"<html>"), answering(500), answering(401), Dripping, answering(302, Location="/v2")],
    ids=["html", "500", "401", "dripping", "redirect"],
)
def test_an_address_that_something_has_is_taken(handler: type[Handler], tmp_path: Path) -> None:
    with (
        url_of(handler) as url,
        pytest.raises(EngineError, match=f"{url} answers already, before serve.command has been started"),
        serve.serving(settings(url), GENERATE, "model", tmp_path / "serve.log"),
    ):
        pass
    assert not (tmp_path / "serve.log").exists()


@pytest.mark.usefixtures("quick")
def test_a_port_of_another_protocol_is_taken(tmp_path: Path) -> None:
    with (
        speaking(b"SSH-2.0-OpenSSH_9.6\r\n") as url,
        pytest.raises(EngineError, match="answers already"),
        serve.serving(settings(url), GENERATE, "model", tmp_path / "serve.log"),
    ):
        pass


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("status", "says"),
    [
        (503, r"in 0.1 seconds \(serve.seconds\): HTTP 503; its output is in"),
        (401, r"/models: HTTP 401, which requires another key \(build.generate.api_key_env\); its output"),
    ],
)
def test_a_server_that_does_not_come_up_is_told_with_its_answer(
    status: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One behind a proxy, which answers in the meantime, and one that wants a key, where no time helps."""
    monkeypatch.setattr(serve, "_wait_free", lambda *arguments: None)
    with (
        url_of(answering(status)) as url,
        pytest.raises(EngineError, match=says),
        serve.serving(
            settings(url, seconds=60 if status == 401 else 0.1), GENERATE, "model", tmp_path / "serve.log"
        ),
    ):
        pass


@pytest.mark.usefixtures("quick")
def test_a_proxy_without_a_server_is_no_server(tmp_path: Path) -> None:
    for handler in (answering(502), answering(503), answering(504)):
        with url_of(handler) as url:
            assert not serve._models(url, None).taken
    with speaking(b"") as url:  # a tunnel
        assert not serve._models(url, None).taken


def test_the_server_of_another_directory_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another command with the same port has started its own in the meantime."""
    monkeypatch.setattr(serve, "_NOTICED", 0.1)
    monkeypatch.setattr(serve, "_wait_free", lambda *arguments: None)
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    for folder in (mine, theirs):
        folder.mkdir()
    listed = f'{{"data": [{{"id": "{theirs}"}}]}}'.encode()
    with (
        url_of(answering(200, listed)) as url,
        pytest.raises(
            EngineError, match=f"has the model '{theirs}', not '{mine}': if another command serves"
        ),
        serve.serving(settings(url), GENERATE, str(mine), tmp_path / "serve.log"),
    ):
        pass


def test_a_command_in_the_background_is_told(tmp_path: Path) -> None:
    command = f"sh -c 'sleep 50 & exit 0' {{model}}"  # noqa: F541
    says = "ended with exit code 0, before the work was done; it has to stay in the foreground: it printed"
    with (
        pytest.raises(EngineError, match=says),
        serve.serving(
            settings("http://127.0.0.1:9/v1", command, 30), GENERATE, "model", tmp_path / "serve.log"
        ),
    ):
        pass


def test_a_shell_does_not_divide_the_name_of_a_directory(tmp_path: Path) -> None:
    spaced = tmp_path / "a policy; echo"
    spaced.mkdir()
    url = "http://127.0.0.1:9/v1"
    inside = settings(url, "sh -c 'exec serve {model} --port 9'")
    with (
        pytest.raises(
            RecipeError, match=r"inside 'exec serve \{model\} --port 9', where a shell would divide"
        ),
        serve.serving(inside, GENERATE, str(spaced), tmp_path / "serve.log"),
    ):
        pass
    assert serve._command(inside, "/plain")[-1] == "exec serve /plain --port 9"
    show = shlex.join([sys.executable, "-c", "import sys; print(sys.argv[1]); sys.exit(4)"])
    outside = settings(url, f"""sh -c 'exec {show.replace("'", '"')} "$0"' {{model}}""", 30)
    with (
        pytest.raises(EngineError, match=f"exit code 4: {spaced}; its output"),
        serve.serving(outside, GENERATE, str(spaced), tmp_path / "serve.log"),
    ):
        pass


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/v 1", "http://127.0.0.1:9/ü"])
def test_an_address_that_is_none_is_refused_before_it_is_waited_for(url: str) -> None:
    with pytest.raises(RecipeError, match="contains spaces or characters that are not ASCII"):
        serve.check_serve(settings(url))
