"""Processes that start at once: forks of one that has imported what commands import.

For tests of what happens to a process, as when it is killed, or of what several compute together. Those of
how a command starts, what it imports and what it costs start Python themselves.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import runpy
import select
import signal
import subprocess
import sys
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

IMPORTED = (
    "pairkit.cli",
    "pairkit.pipeline.build",
    "pairkit.engines.transformers",
    "pairkit.training.run",
    "pairkit.online.run",
    "support.processes",
    "torch.utils.tensorboard",
    "transformers.models.llama.modeling_llama",
)


class Fork:
    """A fork that runs a command, with the methods of `subprocess.Popen`; what it prints is in two files."""

    def __init__(self, server: Server, pid: int, printed: list[Path]) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._server, self._printed, self._ended = server, printed, os.pidfd_open(pid)

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def poll(self) -> int | None:
        """Return the exit code, None before the end."""
        return self._wait(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._wait(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return code

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for the end; return what was printed as output and as errors."""
        self.wait(timeout)
        output, errors = (path.read_text(encoding="utf-8", errors="replace") for path in self._printed)
        return output, errors

    def _wait(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._ended], [], [], timeout)[0]:
            self.returncode = self._server.ask({"wait": self.pid})
            os.close(self._ended)
        return self.returncode


class Server:
    """The process that forks. It is started when it is needed, and asked one thing at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._numbers = folder, count()
        self._process: subprocess.Popen[str] | None = None

    def begin(self) -> None:
        """Start the process without waiting until it has imported everything."""
        pipe, paths = subprocess.PIPE, os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
        environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
        words = [sys.executable, "-W", "default", __file__]
        with (self.folder / "server").open("wb") as errors:
            self._process = subprocess.Popen(
                words, stdin=pipe, stdout=pipe, stderr=errors, env=environment, text=True
            )

    def start(
        self, *words: str, environment: Mapping[str, str] | None = None, kilobytes: int | None = None
    ) -> Fork:
        """Run `python WORDS`: `-m MODULE ...` or `SCRIPT ...`, with files of at most so many kilobytes."""
        number = next(self._numbers)
        printed = [self.folder / f"{number}-{name}" for name in ("output", "errors")]
        given = dict(os.environ if environment is None else environment)
        pid = self.ask({
            "words": words, "printed": list(map(str, printed)), "folder": os.getcwd(),
            "environment": given, "kilobytes": kilobytes,
        })  # fmt: skip
        return Fork(self, pid, printed)

    def ask(self, request: Mapping[str, Any]) -> int:
        if self._process is None:
            self.begin()
        assert self._process
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps(request), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        assert answer, (self.folder / "server").read_text()
        return int(answer)

    def end(self) -> None:
        if self._process:
            self._process.kill()
            self._process.communicate()


def next_request() -> dict[str, Any]:
    """Answer what is asked; return what is to be run, in the fork that runs it."""
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        if "wait" in request:
            print(os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1]), flush=True)
        elif (pid := os.fork()) == 0:
            return request
        else:
            print(pid, flush=True)
    raise SystemExit


def become(request: Mapping[str, Any]) -> None:
    """Make this fork the process that was asked for."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    files = [os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) for path in request["printed"]]
    for own, file in enumerate([nothing, *files]):
        os.dup2(file, own)
        os.close(file)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    if request["kilobytes"] is not None:
        size = 1024 * request["kilobytes"]
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    words = request["words"]
    sys.argv = words[1:] if words[0] == "-m" else list(words)


def main() -> None:
    for name in IMPORTED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    request = next_request()
    become(request)
    first, *others = request["words"]
    if first == "-m":
        runpy.run_module(others[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    main()
