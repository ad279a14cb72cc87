"""Commands in processes of their own: nothing that they have started is left, however they or pairkit end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from pairkit.errors import EngineError, OutputError
from pairkit.online import reserve
from pairkit.online.reserve import reserved
from pairkit.processes import start as process
from pairkit.processes.start import guarded

# Writes its process id to the file named first, then waits; "stubborn": whatever it is sent, "slow": a while.
WAITS = """\
import os, signal, sys, time
def slowly(*_):
    time.sleep(1)
    sys.exit()
if "apart" in sys.argv:
    os.setsid()
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "slow" in sys.argv:
    signal.signal(signal.SIGTERM, slowly)
with open(sys.argv[1] + ".new", "w") as file:
    file.write(str(os.getpid()))
os.rename(sys.argv[1] + ".new", sys.argv[1])
time.sleep(100)
"""


def until(what: Callable[[], Any], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def waiting(folder: Path, *words: str) -> tuple[str, Path]:
    """A shell's words that start the script above, and the file with its process id."""
    script, file = folder / "waits.py", folder / "-".join(["pid", *words])
    script.write_text(WAITS)
    return f"{sys.executable} -I {script} {file} {' '.join(words)}", file


def is_gone(file: Path) -> bool:
    return not psutil.pid_exists(int(file.read_text()))


@pytest.mark.default("", "apart-stubborn")
@pytest.mark.parametrize(
    "words", [(), ("slow",), ("apart",), ("stubborn",), ("apart", "stubborn")], ids="-".join
)
def test_what_a_shell_has_started_has_ended_after_the_block(words: tuple[str, ...], tmp_path: Path) -> None:
    """SIGTERM ends the shell at once, and not what it waits for."""
    line, file = waiting(tmp_path, *words)
    with guarded(["sh", "-c", f"{line}; true"], tmp_path / "log", patience=1.5 if "slow" in words else 0.4):
        until(file.exists)
        assert not is_gone(file)
    assert is_gone(file)


@pytest.mark.default("apart")
@pytest.mark.parametrize("words", [(), ("apart",)], ids=["group", "apart"])
def test_a_command_that_ends_leaves_nothing_in_the_background(words: tuple[str, ...], tmp_path: Path) -> None:
    line, file = waiting(tmp_path, *words)
    script = f"{line} & while ! test -e {file}; do sleep 0.05; done; exit 3"
    with guarded(["sh", "-c", script], tmp_path / "log") as command:
        assert command.wait(30) == 3
        assert is_gone(file)


@pytest.mark.full
def test_a_stubborn_process_does_not_survive_a_killed_command(tmp_path: Path) -> None:
    line, file = waiting(tmp_path, "apart", "stubborn")
    script = f"{line} & while ! test -e {file}; do sleep 0.05; done; kill -9 $$"
    with guarded(["sh", "-c", script], tmp_path / "log", patience=0.5) as command:
        assert command.wait(30) == 128 + signal.SIGKILL
        assert is_gone(file)


def test_a_command_gets_signals_as_any_other(tmp_path: Path) -> None:
    show = "import signal; print(*map(signal.getsignal, (signal.SIGINT, signal.SIGTERM)))"
    with guarded([sys.executable, "-c", show], tmp_path / "log") as command:
        assert command.wait(30) == 0
    assert (tmp_path / "log").read_text() == f"{signal.default_int_handler} {signal.SIG_DFL}\n"


def test_files_of_the_working_directory_are_not_taken_for_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "subprocess.py").write_text("raise SystemExit(77)")
    monkeypatch.chdir(tmp_path)
    with guarded(["sh", "-c", "exit 5"], tmp_path / "log") as command:
        assert command.wait(30) == 5


@pytest.mark.default("full disk")
@pytest.mark.parametrize("reader", ["full disk", "nobody"])
def test_a_command_does_not_wait_for_a_reader_that_is_gone(
    reader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than a pipe holds."""

    class Gone:
        def write(self, text: str) -> int:
            raise BrokenPipeError

        flush = write

    log = tmp_path / "log" if reader == "nobody" else Path("/dev/full")
    if reader == "nobody":
        monkeypatch.setattr(sys, "stderr", Gone())
    words = [sys.executable, "-c", "for number in range(20000): print('a line of a stage', number)"]
    failure = None
    try:
        with guarded(words, log, echo=True) as command:
            assert command.wait(60) == 0
    except OutputError as error:
        failure = str(error)
    assert failure == (
        None if reader == "nobody" else "/dev/full: cannot be written: No space left on device"
    )
    if reader == "nobody":
        assert log.read_text().count("\n") == 20000


def killed(folder: Path, words: tuple[str, ...]) -> Path:
    """Kill a process whose guarded command is running; return the file with the command's process id."""
    line, file = waiting(folder, *words)
    script = (
        "import pathlib, sys, time\n"
        "from pairkit.processes.start import guarded\n"
        "from pairkit.online.reserve import reserved\n"
        "with reserved('http://localhost:9/v1') as held:\n"
        "    with guarded(sys.argv[2:], pathlib.Path(sys.argv[1]), descriptors=held):\n"
        "        time.sleep(100)\n"
    )
    command = [sys.executable, "-c", script, str(folder / "log"), "sh", "-c", f"{line}; true"]
    with subprocess.Popen(command) as owner:
        until(file.exists)
        owner.kill()
    return file


def test_a_command_waits_for_what_a_killed_run_has_left(tmp_path: Path) -> None:
    file = killed(tmp_path, ("slow", "apart"))
    with guarded(["sh", "-c", "exit 0"], tmp_path / "log") as command:
        assert is_gone(file)
        assert command.wait(30) == 0


def test_what_a_killed_run_has_left_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = killed(tmp_path, ("slow", "apart"))
    monkeypatch.setattr(process, "LEFT", 0.0)
    monkeypatch.setattr(reserve, "LEFT", 0.0)
    with (
        pytest.raises(EngineError, match=r"still write to .*log: end them .* run the same command again"),
        guarded(["sh", "-c", "exit 0"], tmp_path / "log"),
    ):
        pass
    for url in ("http://127.0.0.1:9", "http://localhost:9/v1"):
        with pytest.raises(EngineError, match=f"another pairkit online serves at {url}"), reserved(url):
            pass
    with reserved("http://localhost:10/v1"):  # another port
        pass
    until(lambda: is_gone(file))


@pytest.mark.full
def test_the_stubborn_command_of_a_killed_run_is_killed(tmp_path: Path) -> None:
    file = killed(tmp_path, ("stubborn", "apart"))
    os.kill(int(file.read_text()), 0)
    with guarded(["sh", "-c", "exit 0"], tmp_path / "log"):
        assert is_gone(file)
