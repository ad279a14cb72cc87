"""A contender that takes turns with others: waits for a line, runs a round, and prints its measurements."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
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
        self._held = sum(4 * p.numel() * p.itemsize for p in model.parameters())

    def wait(self) -> None:
        """Wait for the contender's turn."""
        print(f"{MARK} ready", flush=True)
        if not sys.stdin.readline():
            os._exit(0)
        self._started = self._now()

    def report(self, sets: int) -> None:
        """Print the speed and the peak memory of the round, in which `sets` sets were used."""
        rate = sets / (self._now() - self._started)
        print(f"{MARK} {json.dumps({'sets_per_second': rate, 'memory': self._memory()})}", flush=True)

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


def memory(field: str) -> int:
    """Read a field of this process's status from the kernel, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))
