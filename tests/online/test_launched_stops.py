"""A training by `accelerate launch` that is killed or stopped: nobody is left; the same command continues."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.online_commands import all_gone, below, finished, started, until, words

LAUNCHER = "accelerate.commands.launch"
LOSS = "support.online:patient"
pytestmark = [pytest.mark.full, pytest.mark.timeout(1500)]
FIELDS: dict[str, Any] = {
    "segments": 2,
    "launch": {"processes": 2},
    "train": {"max_steps": 16, "save_every": 1, "loss": {"name": LOSS}},
}
PAUSE = 1.0  # seconds per step of a run that is stopped, to be met in the middle
WEIGHTS = "model/model.safetensors"


@pytest.fixture(scope="module")
def complete(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody stopped."""
    folder = tmp_path_factory.mktemp("launched")
    code = finished(words(model, folder, FIELDS, LOSS), folder / "log")
    assert code == 0, (folder / "log").read_text()[-4000:]
    return folder / "out"


@pytest.fixture
def training(model: Path, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A run in the training of its second segment, after a checkpoint."""
    with started(words(model, tmp_path, FIELDS, LOSS), tmp_path / "log", PAUSE) as process:
        checkpoints = tmp_path / "out/segment-2/run/checkpoints"

        def saved() -> bool:
            assert process.poll() is None, (tmp_path / "log").read_text()[-4000:]
            return checkpoints.is_dir() and any(one.name.startswith("step-") for one in checkpoints.iterdir())

        until(saved, 500, tmp_path / "log")
        yield process


def workers(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Return those that train."""
    return [
        one
        for one in processes
        if "pairkit.online.stage" in command_of(one) and LAUNCHER not in command_of(one)
    ]


def command_of(process: psutil.Process) -> list[str]:
    """Return its words; none of one that has ended."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def check_continued(model: Path, folder: Path, complete: Path) -> None:
    """The same command ends in the weights of a run that was not stopped."""
    metrics = folder / "out/segment-2/run/metrics.jsonl"
    first = metrics.read_text().splitlines()[0]
    code = finished(words(model, folder, FIELDS, LOSS), folder / "again")
    assert code == 0, (folder / "again").read_text()[-4000:]
    assert (folder / "out" / WEIGHTS).read_bytes() == (complete / WEIGHTS).read_bytes()
    # With the rates of then: this step was not taken again.
    assert metrics.read_text().splitlines()[0] == first
    assert json.loads((folder / "out/segment-2/run/run.json").read_text())["starts"][-1]["processes"] == 2
    steps = (folder / "out" / "metrics.jsonl").read_text().count('"train"')
    assert steps == (complete / "metrics.jsonl").read_text().count('"train"')


def test_a_killed_run_leaves_no_worker_and_continues_at_once(
    training: subprocess.Popen[bytes], model: Path, complete: Path, tmp_path: Path
) -> None:
    left = below(training.pid)
    assert len(workers(left)) == 2, [command_of(one) for one in left]
    training.kill()
    training.wait()
    # Not awaited: the command itself waits for what is ending.
    check_continued(model, tmp_path, complete)
    assert all_gone(left)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_saves_a_checkpoint_and_continues(
    number: signal.Signals, training: subprocess.Popen[bytes], model: Path, complete: Path, tmp_path: Path
) -> None:
    left = below(training.pid)
    training.send_signal(number)
    assert training.wait(60) == 128 + number, (tmp_path / "log").read_text()[-4000:]
    assert all_gone(left)
    last = (tmp_path / "log").read_text().splitlines()[-1]
    assert re.fullmatch(r"error: .*out: stopped; 1 segment is finished; run the same command again .*", last)
    check_continued(model, tmp_path, complete)


@pytest.mark.parametrize("what", ["launcher", "worker"])
def test_a_training_whose_process_is_killed_is_told(
    what: str, training: subprocess.Popen[bytes], model: Path, complete: Path, tmp_path: Path
) -> None:
    """As the kernel does where memory is short."""
    left = below(training.pid)
    launcher = [one for one in left if LAUNCHER in command_of(one)]
    # The first is the guard, with the command as its arguments.
    victim = launcher[-1] if what == "launcher" else workers(left)[-1]
    os.kill(victim.pid, signal.SIGKILL)
    assert training.wait(120) == 1
    assert all_gone(left)
    last = (tmp_path / "log").read_text().splitlines()[-1]
    assert re.fullmatch(
        r"error: segment 2: training ended with exit code \d+: .*; the same command continues", last
    )
    check_continued(model, tmp_path, complete)
