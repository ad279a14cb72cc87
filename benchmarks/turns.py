"""A process that takes its turns with others: it waits for a line, does a round, and prints what it took."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

MARK = "@@"  # what it says to the process that started it


class Turns:
    """A contender's side: it waits for its turn, and reports what a round took."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._before = memory("VmRSS")
        self._held = 0
        self._started = 0.0

    def count(self, model: Any) -> None:
        """Notes the size of the model, whose weights, gradients and optimizer state are no overhead."""
        self._held = sum(4 * p.numel() * p.itemsize for p in model.parameters())

    def wait(self) -> None:
        """Until it is the contender's turn."""
        print(f"{MARK} ready", flush=True)
        if not sys.stdin.readline():
            os._exit(0)
        self._started = self._now()

    def report(self, sets: int) -> None:
        rate = sets / (self._now() - self._started)
        print(f"{MARK} {json.dumps({'sets_per_second': rate, 'memory': self._memory()})}", flush=True)

    def _now(self) -> float:
        """Seconds, once the GPU has done what it was given."""
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
    """Bytes, from what the kernel says of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))
