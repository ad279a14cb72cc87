"""The machine that a benchmark runs on: its name, and other work that the benchmark starts itself."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Never idle, and not in the cache alone, like another training: a sum over 64 MB, again and again.
WORK = "import numpy; block = numpy.ones(1 << 23)\nwhile True: block.sum()"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def machine() -> str:
    """Name the processor, the cores that this process may use, and how many processes were running."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor()
    return f"{name}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}"


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Keep so many processes busy, of one thread each, until the block ends."""
    command = [sys.executable, "-c", WORK]
    running = [subprocess.Popen(command, env={**os.environ, **ONE_THREAD}) for _ in range(processes)]
    try:
        yield
        if any(process.poll() is not None for process in running):
            raise SystemExit("a process of the load ended by itself; nothing was measured")
    finally:
        for process in running:
            process.kill()
            process.wait()
