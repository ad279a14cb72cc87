"""Jobs in processes of their own: what one cannot do, or how it dies, stops no other.

A worker appends a line of JSON to a file when it begins an item, for each result, and when the item has
ended. One that dies is started again with the items after the one that killed it, and one that is out of time
is killed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

DOOR = Path(__file__).parent.parent / "gpu.py"
Result = dict[str, Any]  # "part", "job", "item", "status", "reason", and what was measured, as "values"
# What a result's status may be; "different" is a finding about somebody else's code, and no failure.
OK, DIFFERENT, ABSENT, FAILED, NOT_RUN = "ok", "different", "not installed", "failed", "not run"


class Absent(Exception):
    """What an item needs is not installed."""


class Job(NamedTuple):
    """Items for one process.

    Attributes:
        part: check, kernels or train.
        arguments: what all items share; has to be JSON.
        processes: with more than one, torchrun starts them.
    """

    part: str
    name: str
    items: tuple[str, ...]
    arguments: dict[str, Any]
    processes: int = 1


class _Worker:
    """A job while it runs."""

    def __init__(self, job: Job, folder: Path) -> None:
        self.job = job
        self._file = Path(tempfile.mkstemp(suffix=".jsonl", dir=folder)[1])
        self._errors = self._file.with_suffix(".stderr")
        launcher = [sys.executable]
        if job.processes > 1:
            launcher += ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={job.processes}"]
        command = [*launcher, str(DOOR), "--worker", json.dumps(job._asdict()), "--results", str(self._file)]
        environment = dict(os.environ)
        if job.processes == 1:  # one GPU: transformers' trainer spreads a batch over all that it sees
            first = environment.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
            environment["CUDA_VISIBLE_DEVICES"] = first
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(command, stdout=errors, stderr=errors, env=environment)

    def running(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def results(self, *, killed: bool) -> tuple[list[Result], Job | None]:
        """Return what is known of the items, and the job of those that are left to do.

        Args:
            killed: whether it was out of time; otherwise it died of the item that it had begun.
        """
        lines = [json.loads(line) for line in self._file.read_text().splitlines() if line.endswith("}")]
        results = [line for line in lines if "status" in line]
        ended = {line["ended"] for line in lines if "ended" in line}
        left = tuple(item for item in self.job.items if item not in ended)
        if left and not killed:
            begun = [line["begun"] for line in lines if line.get("begun") in left]
            culprit = begun[-1] if begun else left[0]
            reason = f"its process ended with {self._process.returncode}: {_last_lines(self._errors)}"
            results.append(result(self.job, culprit, FAILED, reason))
            left = tuple(item for item in left if item != culprit)
        return results, self.job._replace(items=left) if left else None


def run(jobs: list[Job], seconds: float, at_once: int, report: Callable[[Result], None]) -> None:
    """Run jobs for so many seconds, `at_once` of them side by side; report a result for every item."""
    deadline = time.monotonic() + seconds
    waiting, running = list(jobs), list[_Worker]()
    with tempfile.TemporaryDirectory() as folder:
        while waiting or running:
            late = time.monotonic() >= deadline
            while waiting and len(running) < at_once and not late:
                running.append(_Worker(waiting.pop(0), Path(folder)))
            for worker in [one for one in running if late or not one.running()]:
                running.remove(worker)
                killed = worker.running()
                worker.stop()
                results, left = worker.results(killed=killed)
                for one in results:
                    report(one)
                if left is not None:
                    waiting.insert(0, left)
            if late:
                for job in waiting:
                    for item in job.items:
                        report(result(job, item, NOT_RUN, "out of time"))
                return
            time.sleep(0.1)


def work(job: Job, file: Path, check: Callable[[Job, str], Iterator[Result]]) -> None:
    """Do the items of a job in this process, and write what becomes of each."""
    import torch

    main = os.environ.get("RANK", "0") == "0"  # of torchrun's processes, one writes
    for item in job.items:
        if main:
            _write(file, {"begun": item})
        try:
            for one in check(job, item):  # written one by one, for those that came before an error
                if main:
                    _write(file, one)
            error = None
        except Absent as absent:
            error = result(job, item, ABSENT, str(absent))
        except torch.OutOfMemoryError as memory:
            error = result(job, item, FAILED, f"out of memory: {_one_line(memory)}")
        except Exception as other:  # reported, so that the other items run
            traceback.print_exc()
            error = result(job, item, FAILED, f"{type(other).__name__}: {_one_line(other)}")
        for line in [error, {"ended": item}] if main else []:
            if line is not None:
                _write(file, line)


def need(module: str, install: str) -> None:
    """Raise `Absent`, with the command that installs it, where a module is missing."""
    if find_spec(module) is None:
        raise Absent(f"{module} is not installed: pip install {install}")


def result(job: Job, item: str, status: str, reason: str = "", **values: Any) -> Result:
    """Make a result of one item."""
    return {
        "part": job.part, "job": job.name, "item": item, "status": status, "reason": reason, "values": values,
    }  # fmt: skip


def _write(file: Path, line: dict[str, Any]) -> None:
    with file.open("a") as stream:
        stream.write(json.dumps(line) + "\n")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:400]


def _last_lines(path: Path) -> str:
    return " ".join(path.read_text(errors="replace").split())[-400:]
