"""A server of each policy: started with its directory, awaited, ended by its own id, whatever happens."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from support import online as runs
from support import online_server
from support.bad_input.running import run_in_process
from support.grids import some
from support.serving import Handler, listening

from pairkit.dataset import reader
from pairkit.errors import EngineError, RecipeError
from pairkit.files import write_json
from pairkit.online import serve
from pairkit.online.recipe import OnlineRecipe
from pairkit.online.run import online


def free_port() -> int:
    with socket.socket() as any_one:
        any_one.bind(("127.0.0.1", 0))
        return int(any_one.getsockname()[1])


def fields(folder: Path, *more: str, command: str | None = None, **given: Any) -> dict[str, Any]:
    """Fields of a recipe whose policy is served by `support.online_server`."""
    port = free_port()
    words = [sys.executable, online_server.__file__, str(port), "{model}", str(folder / "pids"), *more]
    return {
        "segments": 2,
        "train": {"max_steps": 2},
        "build": {"generate": {"engine": "openai", "batch_tokens": None}},
        "serve": {"command": command or shlex.join(words), "url": f"http://127.0.0.1:{port}/v1", **given},
    }


def served(
    model: Path,
    folder: Path,
    *more: str,
    calls: dict[str, Any] | None = None,
    segments: int = 2,
    **given: Any,
) -> OnlineRecipe:
    content = runs.content(model, **fields(folder, *more, **given))
    content["segments"] = segments
    content["build"]["calls"] = calls or {}
    del content["build"]["generate"]["batch_tokens"]
    return runs.load(None, content)


def weights_in(folder: Path) -> set[str]:
    """What the completions of a dataset say of the weights that wrote them."""
    data = reader.load(folder)
    rows = [row for split in data.splits for table in data.tables(split) for row in table.to_pylist()]
    return {completion["text"].split()[1] for row in rows for completion in row["completions"]}


def pids(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "pids").read_text().split()]


def until(what: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


OWN_NAME = ("--name", "a-name-of-its-own")


@pytest.mark.parametrize(
    "more", [(), pytest.param(OWN_NAME, marks=pytest.mark.full)], ids=["directory", "own name"]
)
def test_each_segment_is_served_the_weights_of_the_one_before(
    more: tuple[str, ...], model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    online(served(model, tmp_path, *more), out)
    for number, before in ((1, model), (2, out / "segment-1" / "run" / "model")):
        expected = online_server.weights_of((before / "model.safetensors").read_bytes())
        assert weights_in(out / f"segment-{number}" / "data") == {expected}
    assert len(set(pids(tmp_path))) == 2
    assert not any(map(psutil.pid_exists, pids(tmp_path)))
    assert "loading weights" in (out / "segment-1" / "serve.log").read_text()
    online(served(model, tmp_path), out)  # on another port: it changes no weights
    assert len(pids(tmp_path)) == 2  # nothing is served for a run that is complete


@pytest.mark.default("own name")
@pytest.mark.parametrize("more", [(), OWN_NAME], ids=["directory", "own name"])
def test_a_server_is_asked_for_its_own_name_of_the_model(
    more: tuple[str, ...], model: Path, tmp_path: Path
) -> None:
    recipe = served(model, tmp_path, *more)
    with serve.serving(recipe.serve, recipe.generate, str(model), tmp_path / "serve.log") as name:
        assert name == (more[1] if more else str(model))
    assert not any(map(psutil.pid_exists, pids(tmp_path)))


@pytest.mark.default("ends")
@pytest.mark.parametrize(
    ("command", "says"),
    [
        (
            "sh -c 'echo loading; echo no memory left >&2; exit 3' {model}",
            r"serve.command ended with exit code 3: loading \| no memory left; its output is in .*serve.log",
        ),
        ("/no/such/server {model}", r"ended with exit code 127: /no/such/server: cannot be started: No such"),
        (
            "sh -c 'echo waiting; sleep 50' {model}",
            r"did not answer at http://127.0.0.1:\d+/v1/models in 0.5 seconds .* and ends: waiting",
        ),
    ],
    ids=["ends", "absent", "silent"],
)
def test_a_server_that_does_not_come_up(command: str, says: str, model: Path, tmp_path: Path) -> None:
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    with pytest.raises(EngineError, match=says):
        online(served(model, tmp_path, command=command, seconds=0.5), tmp_path / "out")
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before


@pytest.mark.parametrize("continued", [False, pytest.param(True, marks=pytest.mark.full)])
def test_a_server_that_dies_while_it_is_asked(continued: bool, model: Path, tmp_path: Path) -> None:
    script = tmp_path / "dies.py"
    script.write_text(
        "import os, sys\n"
        "from support import online_server\n"
        "def dies(*_):\n"
        "    print('out of memory', flush=True)\n"
        "    os._exit(9)\n"
        "online_server.answer = dies\n"
        "online_server.main()\n"
    )
    recipe = served(model, tmp_path, calls={"attempts": 1}, segments=1)
    tests = Path(online_server.__file__).parents[1]
    words = [
        "env",
        f"PYTHONPATH={tests}",
        sys.executable,
        str(script),
        *shlex.split(recipe.serve.command)[2:],
    ]
    dying = recipe.serve.model_copy(update={"command": shlex.join(words)})
    with pytest.raises(EngineError, match=r"serve.command ended with exit code 9: loading weights \| out of"):
        online(recipe.model_copy(update={"serve": dying}), tmp_path / "out")
    if continued:
        online(recipe, tmp_path / "out")
        assert (tmp_path / "out" / "model").is_dir()


def test_another_server_at_the_address_is_not_asked(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Other(Handler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"data": []}')

    monkeypatch.setattr(serve, "LEFT", 0.2)
    with listening(Other) as server:
        url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        with pytest.raises(
            EngineError, match=f"{url} answers already, before serve.command has been started"
        ):
            online(served(model, tmp_path, url=url), tmp_path / "out")
    assert not (tmp_path / "pids").exists()


def test_a_command_without_the_model_is_refused(model: Path, tmp_path: Path) -> None:
    for command, says in (
        ("serve --port 1", "has no {model}"),
        ("serve '{model}", "cannot be read: No clos"),
    ):
        with pytest.raises(RecipeError, match=re.escape(says)):
            online(served(model, tmp_path, command=command), tmp_path / "out")


def slow_recipe(model: Path, folder: Path) -> list[str]:
    """Write the recipe of a training whose server is slow after ten answers; return the command's words."""
    content = runs.content(model, **fields(folder, "--slow", "10"))
    del content["build"]["generate"]["batch_tokens"]
    content["build"]["rank"] = {"ranker": "verifier", "check": "exact"}
    content["build"]["calls"] = {"concurrency": 2}
    write_json(folder / "recipe.yaml", content)
    words = ["online", "--recipe", str(folder / "recipe.yaml"), "--out", str(folder / "out")]
    return [*words, f"serve.command={content['serve']['command']}"]


def is_slow(folder: Path) -> bool:
    log = folder / "out" / "segment-1" / "serve.log"
    return log.exists() and "slow" in log.read_text()


def check_stopped(code: int, number: signal.Signals, errors: str, folder: Path) -> None:
    assert code == 128 + number, errors
    last = errors.splitlines()[-1]
    assert re.search(r"^error: .*; run the same command again to continue", last), last
    (server,) = pids(folder)
    assert not psutil.pid_exists(server)


@pytest.mark.parametrize(
    "number", some(lambda number: number == signal.SIGTERM, [signal.SIGTERM, signal.SIGINT])
)
def test_a_signal_ends_the_server_too(
    number: signal.Signals,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[bool] = []

    def stop() -> None:
        until(lambda: is_slow(tmp_path), 60)
        seen.append(psutil.pid_exists(*pids(tmp_path)))
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=stop)
    thread.start()
    ended = run_in_process("", capsys, monkeypatch, *slow_recipe(model, tmp_path))
    thread.join()
    assert seen == [True]
    check_stopped(ended.code, number, ended.errors, tmp_path)


def test_the_server_of_a_killed_process_ends(model: Path, tmp_path: Path) -> None:
    """What asks for it here is a process that has imported nothing else."""
    words = shlex.split(served(model, tmp_path).serve.command)
    command = [word.replace("{model}", str(model)) for word in words]
    script = (
        "import pathlib, sys, time\n"
        "from pairkit.processes.start import guarded\n"
        "with guarded(sys.argv[2:], pathlib.Path(sys.argv[1])):\n"
        "    time.sleep(100)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "log"), *command])
    try:
        until(lambda: (tmp_path / "pids").exists() and bool(pids(tmp_path)))
        (server,) = pids(tmp_path)
        assert psutil.pid_exists(server)
    finally:
        process.kill()
        process.wait()
    until(lambda: not psutil.pid_exists(server))


@pytest.fixture
def slow(model: Path, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`pairkit online` in a process of its own, whose server has become slow."""
    command = [sys.executable, "-m", "pairkit", *slow_recipe(model, tmp_path)]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path)
    try:
        until(lambda: is_slow(tmp_path), 60)
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.mark.full
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_command_ends_the_server_too(
    number: signal.Signals, slow: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    (server,) = pids(tmp_path)
    assert psutil.pid_exists(server)
    slow.send_signal(number)
    check_stopped(slow.wait(30), number, (tmp_path / "log").read_text(), tmp_path)


@pytest.mark.full
def test_the_server_of_a_killed_command_ends(slow: subprocess.Popen[bytes], tmp_path: Path) -> None:
    (server,) = pids(tmp_path)
    os.kill(slow.pid, signal.SIGKILL)
    until(lambda: not psutil.pid_exists(server))
