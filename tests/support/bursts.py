"""Many signals to a process at a random moment, and how it has to end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from random import Random

import pytest

KINDS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def start(words: str, out: Path | str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start `pairkit WORDS OUT`."""
    return subprocess.Popen(
        [sys.executable, "-m", "pairkit", *words.split(), str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **(environment or os.environ),
            **{"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"},
        },
    )


def errors_of(process: subprocess.Popen[str], seconds: float) -> str:
    """Return what a process wrote to standard error until its end; it fails if that takes longer."""
    try:
        return process.communicate(timeout=seconds)[1]
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)  # Python then shows where each thread is
        pytest.fail(f"no end in {seconds:g} s:\n{process.communicate()[1]}")


def attack(process: subprocess.Popen[str], random: Random, until: float) -> int:
    """Send 3 to 20 signals to a process at most `until` seconds after its start; return its exit code."""
    time.sleep(random.uniform(0.1, until))
    gap = random.choice([0, 0.001, 0.01, 0.05, 0.2])
    sent = random.choices(KINDS, [3, 1, 1], k=random.randint(3, 20))
    for number in sent:
        process.send_signal(number)
        time.sleep(gap)
    # A machine that others use too needs a minute to import torch, which a stop waits for.
    errors = errors_of(process, 300)
    assert process.returncode in (0, 129, 130, 143), errors
    assert "Traceback" not in errors
    assert "Exception" not in errors
    assert process.returncode == 0 or "stopped" in errors.splitlines()[-1]
    return process.returncode
