"""SIGINT next to a library that handles it, too."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

HANDLE = "from pairkit.cli.process.signals import raise_on_stops; raise_on_stops()"
IMPORT = "import polars"
WAIT = "import threading; print('waiting', flush=True); threading.Event().wait()"


@pytest.mark.parametrize(
    "steps", [(HANDLE, IMPORT), (IMPORT, HANDLE)], ids=["handled first", "imported first"]
)
def test_sigint_wakes_a_wait_for_a_lock_in_a_process_with_polars(steps: tuple[str, str]) -> None:
    """From its import on polars handles SIGINT, with SA_RESTART: the wait would go on for ever."""
    program = "\n".join([*steps, WAIT])
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"waiting\n"
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, errors) == (130, b"error: stopped\n")
