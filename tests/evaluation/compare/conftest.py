"""A command that runs in a folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.bad_input.running import Ended, Run, run_in_process


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """A function that runs `pairkit WORDS` in the test's folder, in this process."""
    monkeypatch.chdir(tmp_path)

    def run_command(words: str) -> Ended:
        return run_in_process(words, capsys, monkeypatch)

    return run_command
