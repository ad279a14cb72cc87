"""Contenders that take turns: processes that wait for a line, run a round, and print its measurements.

`Turns` is a contender's own side, `Contender` that of the process that started it.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MARK = "@@"  # begins the lines for the process that started this one


class Turns:
    """The turns of one contender: waits for each, and reports speed and memory of its round."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._before = memory("VmRSS")
        self._held = 0
        self._started = 0.0

    def count(self, model: Any) -> None:
        """Remember the size of the model, because weights, gradients and optimizer state are not overhead."""
        # Four times what is trained: itself, its gradient and two moments of AdamW; frozen weights have none.
        self._held = sum((4 if p.requires_grad else 1) * p.numel() * p.itemsize for p in model.parameters())

    def wait(self) -> None:
        """Wait for the contender's turn."""
        print(f"{MARK} ready", flush=True)
        if not sys.stdin.readline():
            os._exit(0)
        self._started = self._now()

    def report(self, sets: int, **more: Any) -> None:
        """Print the speed and the peak memory of the round, in which `sets` sets were used, and `more`."""
        rate = sets / (self._now() - self._started)
        measured = {"sets_per_second": rate, "memory": self._memory(), **more}
        print(f"{MARK} {json.dumps(measured)}", flush=True)

    def _now(self) -> float:
        """Return the time in seconds, after the GPU has finished its work."""
        if self._device == "cuda":
            import torch

            torch.cuda.synchronize()
        return time.perf_counter()

    def _memory(self) -> int:
        if self._device == "cuda":
            import torch

            return torch.cuda.max_memory_allocated()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return peak - self._before - self._held


class Contender:
    """A contender in a process of its own."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name, self.rounds = name, list[dict[str, Any]]()
        # A file, because a pipe that nobody reads would stop a library that logs much.
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115, because the process writes to it
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True
        )
        self._line()

    def turn(self, *, last: bool) -> None:
        """Take one round."""
        assert self._process.stdin
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        self.rounds.append(json.loads(self._line()))
        if not last:
            self._line()

    def end(self) -> None:
        self._process.kill()
        self._process.wait()

    def median(self, key: str) -> float:
        """Return the median of the rounds but the first, which warms up."""
        return statistics.median(measured[key] for measured in self.rounds[1:])

    def _line(self) -> str:
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith(MARK):
                return line.removeprefix(MARK)
        self._errors.seek(0)
        raise SystemExit(f"{self.name} failed:\n{self._errors.read()[-3000:]}")


def race(contenders: Sequence[Contender], rounds: int) -> None:
    """Take all rounds of some contenders, by turns, and a first one to warm up; then end them."""
    for done in range(rounds + 1):
        for contender in contenders:
            contender.turn(last=done == rounds)
    for contender in contenders:
        contender.end()


def ratios(one: Contender, other: Contender, key: str = "sets_per_second") -> list[float]:
    """Return `one` over `other` in each round but the first."""
    pairs = zip(one.rounds[1:], other.rounds[1:], strict=True)
    return [ours[key] / theirs[key] for ours, theirs in pairs]


def memory(field: str) -> int:
    """Read a field of this process's status from the kernel, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))
