"""How a command starts and ends: Python looks seldom through what stays, and frees all at its end.

Bindings count what they have not been able to free, and print it after the line that says what is wrong.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.bad_input.running import run_in_process

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


@pytest.mark.parametrize("words", ["build --source files --path rows.jsonl", "losses dpo", "train"])
def test_a_working_directory_that_was_removed(
    words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    ended = run_in_process(words, capsys, monkeypatch)
    assert (ended.code, ended.out) == (1, "")
    assert (
        ended.errors
        == "error: the working directory: No such file or directory; go to one that exists (cd)\n"
    )
