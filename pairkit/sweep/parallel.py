"""Several runs at a time, each in a process of its own and on a device of its own."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

from pairkit.errors import RecipeError, TrainingError
from pairkit.imports import named
from pairkit.progress import visible
from pairkit.sweep.grid import Point
from pairkit.sweep.worker import DIVERGED, work
from pairkit.training.recipe import TrainRecipe


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
    process: BaseProcess
    job: Job
    device: str | None


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

    When the caller stops, so do the runs: each ends its step and saves a checkpoint.

    Raises `TrainingError` for a run that ended otherwise.
    """
    logs.mkdir(parents=True, exist_ok=True)
    waiting, free = deque(jobs), deque(devices)
    running: dict[int, _Running] = {}
    share = {} if any(devices) else {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // len(devices)))}
    # Spawned, because a fork would hold a copy of a CUDA context and of the threads of torch.
    context = get_context("spawn")
    try:
        while waiting or running:
            while waiting and free:
                job, device = waiting.popleft(), free.popleft()
                environment = share if device is None else {"CUDA_VISIBLE_DEVICES": device}
                fields = job.recipe.model_dump(mode="json")
                log = str(_log(logs, job))
                arguments = (fields, str(job.out), log, environment, named(), os.getpid())
                process = context.Process(target=work, args=arguments, name=job.name)
                process.start()
                running[process.sentinel] = _Running(process, job, device)
            ready = set(wait(list(running)))
            for ended in [running.pop(sentinel) for sentinel in list(running) if sentinel in ready]:
                ended.process.join()
                free.append(ended.device)
                yield ended.job, _problem(ended.process.exitcode, ended.job, _log(logs, ended.job))
    finally:
        for each in running.values():
            if each.process.pid is not None and each.process.is_alive():
                with suppress(ProcessLookupError):
                    os.kill(each.process.pid, signal.SIGTERM)
        for each in running.values():
            each.process.join()


def _log(logs: Path, job: Job) -> Path:
    return logs / f"{job.name}.txt"


def _problem(code: int | None, job: Job, file: Path) -> str | None:
    """Return why a run diverged, None if it has a model; raise `TrainingError` for any other end."""
    if code == 0:
        return None
    lines = [line.strip() for line in file.read_text(encoding="utf-8", errors="replace").splitlines()]
    last = next((line for line in reversed(lines) if line.startswith("error: ")), lines[-1] if lines else "")
    said = visible(last.removeprefix("error: ")) or "it printed nothing"
    if code == DIVERGED:
        return said
    raise TrainingError(
        f"{job.out}: ended with exit code {code}: {said}; all it printed is in {file}; the same command "
        "continues"
    )
