"""Fixtures for tests that run commands in a folder of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.bad_input.running import Ended, Run, run_in_process
from support.tiny import model_folder, random_sets, write_data


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built dataset and a model, which no test changes."""
    folder = tmp_path_factory.mktemp("inputs")
    write_data(folder / "data", random_sets(24))
    model_folder(folder / "model")
    return folder


@pytest.fixture
def here(tmp_path: Path, inputs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of a command: all paths in messages are relative to it."""
    monkeypatch.chdir(tmp_path)
    for name in ("data", "model"):
        (tmp_path / name).symlink_to(inputs / name)
    return tmp_path


@pytest.fixture
def run(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """A function that runs `pairkit WORDS` in `here`, in this process."""

    def run_command(words: str) -> Ended:
        return run_in_process(words, capsys, monkeypatch)

    return run_command
