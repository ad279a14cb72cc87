"""Run a command in a process group of its own, and end it together with the process that asked for it.

    python -m pairkit.online.guard PARENT PATIENCE PROGRAM ARGUMENT...

A server or a stage that outlives pairkit would hold the device, or answer the next run with old weights. So
this process, which does nothing else, looks whether its parent is there. When it is not, or on SIGTERM, the
group is sent SIGTERM, and SIGKILL after PATIENCE seconds (at most ten without the parent).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

_LOOK = 0.2  # seconds between two looks
_ALONE = 10.0  # seconds that a command without a parent gets to end


def main(parent: int, patience: float, command: list[str]) -> int:
    """Run the command; return its exit code, 128 + N if signal N ended it."""
    told: list[int] = []
    # From here on, because the group's SIGTERM reaches this process too.
    signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = subprocess.Popen(command)
    except OSError as error:
        print(f"error: {command[0]}: cannot be started: {error.strerror}", file=sys.stderr)
        return 127
    ends = None
    while True:
        try:
            code = process.wait(_LOOK)
            break
        except subprocess.TimeoutExpired:
            alone = os.getppid() != parent
            if ends is None and (told or alone):
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                os.killpg(0, signal.SIGTERM)
                ends = time.monotonic() + (min(patience, _ALONE) if alone else patience)
            if ends is not None and alone:
                ends = min(ends, time.monotonic() + _ALONE)
            if ends is not None and time.monotonic() > ends:
                os.killpg(0, signal.SIGKILL)  # this process too
    # What the command has started and left: workers of an engine that died.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(0, signal.SIGTERM)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
