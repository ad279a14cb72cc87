"""`pairkit online` in a process of its own, and what it has started."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import yaml
from support import online as runs

TESTS = str(Path(__file__).parents[1])


def words(model: Path, folder: Path, fields: Mapping[str, Any], loss: str = "mcpo") -> list[str]:
    """Write a recipe; return the command that runs it to `out` in a folder."""
    content = runs.content(model, **fields)
    generate = content["build"]["generate"]
    # None: not a field of this engine.
    content["build"]["generate"] = {key: value for key, value in generate.items() if value is not None}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    command = [sys.executable, "-m", "pairkit", "online", "--recipe", str(folder / "recipe.yaml")]
    named = [f"build.rank.check={content['build']['rank']['check']}", f"train.loss.name={loss}"]
    return [*command, "--out", str(folder / "out"), *named]


@contextmanager
def started(command: list[str], log: Path, pause: float = 0) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command for the block, which prints to `log`; kill it, and what it has left, at the end.

    `pause` is that of `online.patient`, in seconds.
    """
    paths = [TESTS, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONWARNINGS": "default",
        "PAIRKIT_TEST_PAUSE": str(pause),
    }
    with log.open("ab") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment, cwd=log.parent)
    try:
        yield process
    finally:
        left = below(process.pid)
        if process.poll() is None:
            process.kill()
        process.wait()
        for one in left:
            if one.is_running():
                one.kill()


def finished(command: list[str], log: Path, seconds: float = 500) -> int:
    """Run a command to its end; return its exit code."""
    with started(command, log) as process:
        return process.wait(seconds)


def below(pid: int) -> list[psutil.Process]:
    """Return the processes that a process has started, and theirs."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def until(what: Callable[[], Any], seconds: float, log: Path) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, log.read_text()[-4000:]
        time.sleep(0.02)


def all_gone(processes: list[psutil.Process]) -> bool:
    """Whether none of them runs; one that has ended and was not collected does not."""
    return not [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
