"""How `pairkit view` ends: a process of its own, whose libraries handle signals too."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.default("SIGINT")
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 0), (signal.SIGTERM, 143)],
    ids=["SIGINT", "SIGTERM"],
)
def test_a_signal_ends_the_server(number: int, code: int, five_folder: Path) -> None:
    command = [sys.executable, "-m", "pairkit", "view", str(five_folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            assert server.stdout.readline().startswith("http://127.0.0.1:")
            server.send_signal(number)
            _, errors = server.communicate(timeout=30)
        finally:
            server.kill()
        assert (server.returncode, "Traceback" in errors) == (code, False)
