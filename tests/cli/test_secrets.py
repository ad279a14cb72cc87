"""Secrets in recipes, URLs and answers are in nothing that a command writes or prints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from support.bad_input.running import Run

from pairkit import masking
from pairkit.pipeline.recipe import load

PASSWORD, KEY, TOKEN = "hunter2-of-the-url", "key4of8the15server", "token-in-the-body"


class Echo(BaseHTTPRequestHandler):
    """A server that repeats in what it answers whatever a client tells it."""

    status = 200

    def do_GET(self) -> None:
        self._answer(200, {"data": [{"id": "m"}]})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        said = f"you sent {body} with {self.headers.get('Authorization')}"
        if type(self).status != 200:
            self._answer(type(self).status, {"error": {"message": said}})
            return
        choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
        self._answer(200, {"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}})

    def _answer(self, status: int, answer: dict[str, Any]) -> None:
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of the server, with a password in it."""
    monkeypatch.setattr(masking, "_remembered", set())
    monkeypatch.setattr(Echo, "status", 200)
    monkeypatch.setenv("ECHO_KEY", KEY)
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}/v1"
    httpd.shutdown()
    httpd.server_close()


def command(server: str, more: str = "") -> str:
    Path("rows.jsonl").write_text("\n".join(json.dumps({"prompt": f"{n}?"}) for n in range(3)))
    return (
        "build --source files --path rows.jsonl --out out --cache cache.sqlite generate.engine=openai "
        f"generate.model=m generate.base_url={server} generate.max_tokens=9 test_fraction=0 "
        f"mine.require_choice=false {more}"
    )


def leaks(folder: Path, printed: str, *secrets: str) -> list[str]:
    """Where a secret is: names of files, or what was printed."""
    found = ["printed" for secret in secrets if secret in printed]
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            found += [f"{path.name}: {secret}" for secret in secrets if secret.encode() in path.read_bytes()]
    return found


def test_a_key_that_the_server_echoes(here: Path, run: Run, server: str) -> None:
    ended = run(command(server, "generate.api_key_env=ECHO_KEY"))
    assert ended.code == 0, ended.errors
    assert leaks(here, ended.out + ended.errors, KEY) == []
    assert "Bearer ***" in (here / "out/README.md").read_text()


@pytest.mark.parametrize("status", [400, 401, 403, 422])
def test_a_key_in_an_error(
    here: Path, run: Run, server: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Echo, "status", status)
    ended = run(command(server, "generate.api_key_env=ECHO_KEY calls.attempts=1"))
    assert ended.code == 1
    assert "***" in ended.errors
    assert leaks(here, ended.out + ended.errors, KEY) == []


@pytest.mark.parametrize("port", ["", "1"])
def test_a_password_in_the_url(here: Path, run: Run, server: str, port: str) -> None:
    url = (f"http://127.0.0.1:{port}/v1" if port else server).replace("//", f"//me:{PASSWORD}@")
    for more in ("--dry-run", "calls.attempts=1"):
        ended = run(command(url, more))
        assert (ended.code == 0) == (more == "--dry-run" or not port), ended.errors
        assert leaks(here, ended.out + ended.errors, PASSWORD) == []


def test_a_token_in_the_body_is_masked_and_not_published(here: Path, run: Run, server: str) -> None:
    more = f"generate.extra_body.access_token={TOKEN}"
    dry = run(command(server, f"{more} --dry-run"))
    assert dry.code == 0
    assert TOKEN not in dry.out + dry.errors
    ended = run(command(server, more))
    assert ended.code == 0, ended.errors
    recorded = [here / "out/pairkit.json", here / "out/README.md", here / "out/run.jsonl"]
    assert not any(TOKEN in path.read_text() for path in recorded if path.name != "README.md")
    assert json.loads(recorded[0].read_text())["recipe"]["generate"]["extra_body"] == {"access_token": "***"}
    again = run(command(server, more))
    assert again.code == 0, again.errors
    pushed = run("push out me/sets --dry-run")
    assert pushed.code == 1
    assert "the key 'recipe.generate.extra_body.access_token' holds what looks like a secret" in pushed.errors
    assert TOKEN not in pushed.errors


@pytest.mark.parametrize(
    "value",
    ["sk-0123456789abcdef", "hf_abcdefghijklmnopqrst", "AKIAIOSFODNN7EXAMPLE", "a1b2c3d4e5f60718", "k.e.y"],
)
def test_a_key_in_place_of_its_variable(here: Path, run: Run, server: str, value: str) -> None:
    ended = run(command(server, f"generate.api_key_env={value}"))
    assert ended.code == 1
    assert "generate.api_key_env' is the name of an environment variable" in ended.errors
    assert value not in ended.errors


def test_the_identity_of_a_build_has_no_secret() -> None:
    from pairkit.pipeline.identity import portable

    generate = {
        "engine": "vllm",
        "model": "m",
        "vllm": {"hf_token": "hf_abcdefghijklmnopqrst", "a": [{"api_key": "x"}]},
    }
    recipe = load(None, {"source": {"name": "arithmetic"}, "generate": generate}, {})
    assert portable(recipe)["generate"]["vllm"] == {"hf_token": "***", "a": [{"api_key": "***"}]}


def test_the_record_of_a_run_has_no_secret(here: Path, run: Run) -> None:
    small = "max_steps=1 sets_per_step=2 trackers=[] max_length=64"
    typed = "train --data data --model model --loss dpo --out run template.kwargs.api_key=hunter22"
    ended = run(f"{typed} {small}")
    assert ended.code == 0, ended.errors
    assert "hunter22" not in ended.out + ended.errors
    for name in ("run.json", "recipe.yaml"):
        assert "hunter22" not in (here / "run" / name).read_text()
    assert run(f"{typed} {small}").code == 0
    pushed = run("push run me/model --dry-run")
    assert pushed.code == 1
    assert "the key 'template.kwargs.api_key' holds what looks like a secret" in pushed.errors
