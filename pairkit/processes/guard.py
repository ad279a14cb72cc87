"""Run a command in a process group of its own, and end it together with the process that asked for it.

    python -I guard.py PARENT PATIENCE PROGRAM ARGUMENT...

A server or a stage that outlives pairkit would hold the device, or answer the next run with old weights. So
this process, which does nothing else, looks whether its parent is there. When it is not, or on SIGTERM, the
command is sent SIGTERM, and SIGKILL after PATIENCE seconds (at most ten without the parent).

This process ends when all that the command has started has ended, however the command itself ended. On Linux
that includes processes in sessions of their own (workers of `accelerate launch`, daemons).
"""

from __future__ import annotations

import ctypes
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Set
from contextlib import suppress

_LOOK = 0.1  # seconds between two looks
_ALONE = 10.0  # seconds that a command without a parent gets to end, or what an ended command has left
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def main(parent: int, patience: float, command: list[str]) -> int:
    """Run the command; return its exit code, 128 + N if signal N ended it."""
    signals: list[int] = []
    # From here on, because the group's SIGTERM reaches this process too.
    signal.signal(signal.SIGTERM, lambda number, frame: signals.append(number))
    # By a function, because a signal that is ignored here would be ignored by the command as well.
    signal.signal(signal.SIGINT, lambda number, frame: None)
    adopts = _adopt_orphans()
    try:
        process = subprocess.Popen(command)
    except OSError as error:
        print(f"error: {command[0]}: cannot be started: {error.strerror}", file=sys.stderr)
        return 127
    ends: float | None = None
    recipients: set[int] = set()
    while True:
        some = _collect(process)
        code = process.returncode
        if code is not None and (not some or not adopts):
            break
        alone = os.getppid() != parent
        if signals or alone or code is not None:
            if ends is None:
                ends = math.inf
                os.killpg(0, signal.SIGTERM)
            # Those that had a session, and a parent, of their own.
            apart = {child for child in _children() if os.getpgid(child) != os.getpgrp()}
            _send(signal.SIGTERM, apart - recipients)
            recipients |= apart
            limit = patience if signals and not alone and code is None else min(patience, _ALONE)
            ends = min(ends, time.monotonic() + limit)
            if time.monotonic() > ends:
                # Children of those that end now are children of this process in the next round.
                _send(signal.SIGKILL, set(_children()))
                if not adopts:
                    os.killpg(0, signal.SIGKILL)  # this process too
        time.sleep(_LOOK)
    if not adopts:
        os.killpg(0, signal.SIGTERM)
    return code if code >= 0 else 128 - code


def _adopt_orphans() -> bool:
    """Become the parent of descendants whose own parent ends; return whether this system can."""
    if sys.platform != "linux":
        return False
    return bool(ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def _collect(process: subprocess.Popen[bytes]) -> bool:
    """Collect the children that have ended, `process` among them; return whether any is left."""
    while True:
        try:
            child, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if child == 0:
            return True
        if child == process.pid:
            process.returncode = os.waitstatus_to_exitcode(status)


def _children() -> Iterator[int]:
    """Yield the processes whose parent is this one; none where there is no /proc."""
    with suppress(FileNotFoundError), os.scandir("/proc") as entries:
        for entry in entries:
            if entry.name.isdigit() and _parent_of(entry.name) == os.getpid():
                yield int(entry.name)


def _parent_of(pid: str) -> int | None:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            # The name, which may hold anything, is in parentheses; then the state, then the parent.
            return int(file.read().rpartition(")")[2].split()[1])
    except (OSError, IndexError):  # it has ended
        return None


def _send(number: int, pids: Set[int]) -> None:
    for pid in pids:
        # A child stays until it is collected; one of another user (sudo) cannot be signaled.
        with suppress(PermissionError):
            os.kill(pid, number)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
