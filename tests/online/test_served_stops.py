"""A run whose server is below a shell, stopped while it starts and while it answers: nothing stays."""

from __future__ import annotations

import shlex
import signal
import socket
import sys
from pathlib import Path

import psutil
import pytest
from support import online_server
from support.online_commands import finished, started, until, words

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]
WEIGHTS = "model/model.safetensors"


def command(model: Path, folder: Path, *more: str) -> list[str]:
    """The command of a run; the server's process id goes to `pids`."""
    with socket.socket() as any_one:
        any_one.bind(("127.0.0.1", 0))
        port = any_one.getsockname()[1]
    url = f"http://127.0.0.1:{port}/v1"
    server = [sys.executable, online_server.__file__, str(port)]
    # The shell waits for it, and is gone at the first SIGTERM.
    script = f'{shlex.join(server)} "$0" {shlex.join([str(folder / "pids"), *more])}; true'
    fields = {
        "segments": 2,
        "train": {"max_steps": 2},
        "build": {"generate": {"engine": "openai", "batch_tokens": None}, "calls": {"concurrency": 2}},
    }
    serve = [f"serve.command={shlex.join(['sh', '-c', script])} {{model}}", f"serve.url={url}"]
    return [*words(model, folder, fields), *serve]


@pytest.fixture(scope="module")
def complete(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody stopped."""
    folder = tmp_path_factory.mktemp("served")
    code = finished(command(model, folder), folder / "log")
    assert code == 0, (folder / "log").read_text()[-4000:]
    return folder / "out"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("moment", ["start", "generation"])
def test_the_server_is_gone_and_the_same_command_continues(
    moment: str, number: signal.Signals, model: Path, complete: Path, tmp_path: Path
) -> None:
    more = ("--load", "60") if moment == "start" else ("--slow", "10")
    pids, log = tmp_path / "pids", tmp_path / "log"
    serving = tmp_path / "out/segment-1/serve.log"
    with started(command(model, tmp_path, *more), log) as process:
        until(lambda: pids.exists() and pids.read_text().strip(), 100, log)
        if moment == "generation":
            until(lambda: "slow" in serving.read_text(), 100, log)
        process.send_signal(number)
        code = process.wait(60)
        server = int(pids.read_text())
        if number != signal.SIGKILL:
            assert code == 128 + number, log.read_text()[-4000:]
            assert not psutil.pid_exists(server)
            assert log.read_text().splitlines()[-1].endswith("; run the same command again to continue")
    # Only what the server is told is another: it changes no weights.
    code = finished(command(model, tmp_path), tmp_path / "again")
    assert code == 0, (tmp_path / "again").read_text()[-4000:]
    assert not [pid for pid in map(int, pids.read_text().split()) if psutil.pid_exists(pid)]
    assert (tmp_path / "out" / WEIGHTS).read_bytes() == (complete / WEIGHTS).read_bytes()
