"""Secrets in recipes, URLs and answers are in nothing that a command writes or prints."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.bad_input.running import Run
from support.serving import Handler, listening

from pairkit import masking
from pairkit.pipeline.recipe import load

PASSWORD, KEY, TOKEN = "hunter2-of-the-url", "key4of8the15server", "token-in-the-body"


class Echo(Handler):
    """A server that repeats in what it answers whatever a client tells it."""

    status = 200
    form = "text"

    def do_GET(self) -> None:
        self._answer(200, {"data": [{"id": "m"}]})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        said = f"you sent {body} with {self.headers.get('Authorization')}"
        if type(self).status != 200:
            self._answer(type(self).status, {"error": {"message": said}})
            return
        self._answer(200, FORMS[type(self).form](said))

    def _answer(self, status: int, answer: dict[str, Any] | bytes) -> None:
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Set-Cookie", f"key={self.headers.get('Authorization')}")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def answer(**message: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}]}


def pieces(said: str) -> bytes:
    """A stream of three letters at a time, so that no piece has the secret."""
    deltas = [{"delta": {"content": said[place : place + 3]}} for place in range(0, len(said), 3)]
    events = [{"choices": [{"index": 0, **delta}]} for delta in deltas]
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode() + b"data: [DONE]\n\n"


def call(said: str) -> dict[str, Any]:
    return {"id": said, "type": "function", "function": {"name": said, "arguments": json.dumps({"a": said})}}


FORMS: dict[str, Callable[[str], dict[str, Any] | bytes]] = {
    "text": lambda said: answer(content=said),
    "thought": lambda said: answer(content="a", reasoning_content=said),
    "calls": lambda said: answer(content=None, tool_calls=[call(said)]),
    "parts": lambda said: answer(content=[{"type": "text", "text": letter} for letter in said]),
    "pieces": pieces,
    "escaped": lambda said: json.dumps(answer(content="@")).replace("@", spelled(said)).encode(),
}


def spelled(text: str) -> str:
    return "".join(f"\\u{ord(letter):04x}" for letter in text)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of the server, with a password in it."""
    monkeypatch.setattr(masking, "_remembered", set())
    monkeypatch.setattr(Echo, "status", 200)
    monkeypatch.setattr(Echo, "form", "text")
    monkeypatch.setenv("ECHO_KEY", KEY)
    with listening(Echo) as httpd:
        yield f"http://127.0.0.1:{httpd.server_port}/v1"


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


@pytest.mark.default("parts", "calls", "thought")
@pytest.mark.parametrize("form", FORMS)
def test_secrets_that_the_server_echoes(
    form: str, here: Path, run: Run, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key, a token in the body, also within arguments of the template, and their masks in its place."""
    monkeypatch.setattr(Echo, "form", form)
    more = f"generate.extra_body.access_token={TOKEN} generate.template.kwargs.secret=s3cret-of-kwargs"
    ended = run(command(server, f"generate.api_key_env=ECHO_KEY {more}"))
    assert ended.code == 0, ended.errors
    assert leaks(here, ended.out + ended.errors, KEY, TOKEN, "s3cret-of-kwargs") == []
    (completion,) = pq.read_table(here / "out/data")["completions"][0].as_py()
    assert "with Bearer ***" in json.dumps(completion)
    assert json.loads((here / "out/pairkit.json").read_text())["counts"]["generate"]["secret_masked"] == 3
    assert "3 of 3 completions: repeated a secret of the request, which *** replaces" in ended.out


def test_words_that_are_secrets_too_stay_in_completions(here: Path, run: Run, server: str) -> None:
    """A password that is a word or a short number is in texts by chance."""
    ended = run(command(server.replace("//", "//sent:12345678@"), "generate.extra_body.token=content"))
    assert ended.code == 0, ended.errors
    (completion,) = pq.read_table(here / "out/data")["completions"][0].as_py()
    assert completion["text"].startswith(
        'you sent {"model": "m", "messages": [{"role": "user", "content": "0?"}]'
    )
    assert completion["text"].endswith("with Basic ***")


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
        coded = b64encode(f"me:{PASSWORD}".encode()).decode()
        assert leaks(here, ended.out + ended.errors, PASSWORD, coded) == []


def test_a_token_in_the_body_is_masked_and_not_published(here: Path, run: Run, server: str) -> None:
    more = f"generate.extra_body.access_token={TOKEN}"
    dry = run(command(server, f"{more} --dry-run"))
    assert dry.code == 0
    assert TOKEN not in dry.out + dry.errors
    ended = run(command(server, more))
    assert ended.code == 0, ended.errors
    assert leaks(here, ended.out + ended.errors, TOKEN) == []
    recipe = json.loads((here / "out/pairkit.json").read_text())["recipe"]
    assert recipe["generate"]["extra_body"] == {"access_token": "***"}
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
