"""Several runs at a time, each in a process of its own and on a device of its own."""

from __future__ import annotations

import os
import subprocess
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pairkit.errors import RecipeError, TrainingError
from pairkit.processes.start import guarded, last_words, size_of
from pairkit.sweep.grid import Point
from pairkit.sweep.worker import COMMAND, DIVERGED, request
from pairkit.training.recipe import TrainRecipe

_LOOK = 0.1  # seconds between two looks at what has ended


@dataclass(frozen=True)
class Job:
    """A run of a sweep."""

    point: Point
    recipe: TrainRecipe
    out: Path

    @property
    def name(self) -> str:
        return self.out.name


class _Running(NamedTuple):
    process: subprocess.Popen[bytes]
    job: Job
    device: str | None
    log: Path
    since: int  # bytes of the log that are older
    end: ExitStack  # after which nothing is left of it


def devices_of(parallel: str | None) -> tuple[str | None, ...]:
    """Return the devices of `--parallel`: nothing, a number of runs at a time, or `devices` for each GPU.

    Raises `RecipeError` for another word, and for `devices` without a GPU.
    """
    if parallel is None:
        return ()
    if parallel == "devices":
        import torch

        if not torch.cuda.device_count():
            raise RecipeError("--parallel devices: this machine has no CUDA device; give a number of runs")
        return tuple(map(str, range(torch.cuda.device_count())))
    if not parallel.isdecimal() or not int(parallel):
        raise RecipeError(f"--parallel {parallel}: must be a number of runs, 1 or more, or devices")
    return (None,) * int(parallel)


def in_parallel(
    jobs: Sequence[Job], devices: Sequence[str | None], logs: Path
) -> Iterator[tuple[Job, str | None]]:
    """Train, one run at a time per device; yield each when it has ended, with why it diverged if it did.

    When the caller stops, or this process is killed, so do the runs: each ends its step and saves a
    checkpoint. The same command waits for those that are still ending.

    Raises `TrainingError` for a run that ended otherwise, `EngineError` for one of a killed command that does
    not end.
    """
    waiting, free = deque(jobs), deque(devices)
    running: list[_Running] = []
    # Without devices, because each run would otherwise take all cores and wait for the others.
    share = {} if any(devices) else {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // len(devices)))}
    try:
        while waiting or running:
            while waiting and free:
                running.append(_start(waiting.popleft(), free.popleft(), share, logs))
            for each in [each for each in running if each.process.poll() is not None]:
                running.remove(each)
                each.end.close()
                free.append(each.device)
                yield each.job, _problem(each)
            time.sleep(_LOOK)
    finally:
        # All before the first is waited for: a step and a checkpoint may take minutes.
        for each in running:
            if each.process.poll() is None:
                each.process.terminate()
        for each in running:
            each.end.close()


def _start(job: Job, device: str | None, share: dict[str, str], logs: Path) -> _Running:
    log, end = logs / f"{job.name}.txt", ExitStack()
    since = size_of(log)
    # Set before torch is imported there.
    environment = share if device is None else {"CUDA_VISIBLE_DEVICES": device}
    process = guarded(COMMAND, log, environment=request(job.recipe, job.out) | environment)
    return _Running(end.enter_context(process), job, device, log, since, end)


def _problem(run: _Running) -> str | None:
    """Return why a run diverged, None if it has a model; raise `TrainingError` for any other end."""
    code = run.process.returncode
    if code == 0:
        return None
    message = last_words(run.log, run.since)
    if code == DIVERGED:
        return message
    raise TrainingError(
        f"{run.job.out}: ended with exit code {code}: {message}; all it printed is in {run.log}; the same "
        "command continues"
    )
