"""A bound of CPU time and memory around one case: a hang or a bomb is a failure that names its case."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

PROCESS = Path("/proc/self")


class TooMuch(BaseException):
    """More time or memory than a case may take; not an Exception, which what is tested might catch."""


def in_memory(name: str) -> int:
    """Return bytes of this process in memory: `VmRSS` now, `VmHWM` at most since the last reset, `VmSize`."""
    lines = (PROCESS / "status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


@contextmanager
def bounded(seconds: float = 20, mebibytes: int = 400) -> Iterator[None]:
    """Raise `TooMuch` if the block takes more CPU time, or this process grows by more memory meanwhile.

    Far beyond that memory, what asks for more gets a `MemoryError`, because the machine is others' too.
    """

    def late(number: int, frame: FrameType | None) -> None:
        raise TooMuch(f"more than {seconds:g} s of CPU time")

    handler = signal.signal(signal.SIGPROF, late)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    (PROCESS / "clear_refs").write_text("5")  # resets VmHWM
    before = in_memory("VmRSS")
    resource.setrlimit(resource.RLIMIT_AS, (in_memory("VmSize") + 8 * 2**30, limits[1]))
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, handler)
        resource.setrlimit(resource.RLIMIT_AS, limits)
    grown = (in_memory("VmHWM") - before) / 2**20
    if grown > mebibytes:
        raise TooMuch(f"{grown:.0f} MiB of memory")
