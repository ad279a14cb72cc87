"""How a command starts and ends: Python looks seldom through what stays, and frees all at its end.

Bindings count what they have not been able to free, and print it after the line that says what is wrong.
"""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import atexit, gc, sys
from pairkit.__main__ import main
atexit.register(lambda: print(gc.get_threshold()[0], gc.get_freeze_count()))
sys.argv = ["pairkit", *sys.argv[1:]]
main()
"""


def test_objects_are_seldom_looked_through_and_freed_at_the_end() -> None:
    for words, code in ((["--version"], 0), (["build", "--source", "none"], 1)):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stderr
        assert done.stdout.splitlines()[-1] == "10000 0"
