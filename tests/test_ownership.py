"""One owner per output directory: the second one is told who has it, and changes nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.bad_input.running import run_in_process
from support.published import hashes
from support.tiny import model_folder, random_sets, write_data

from pairkit.errors import OutputError
from pairkit.files import LOCK
from pairkit.ownership import owned


def test_a_second_owner_is_refused_and_the_first_is_named(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with owned(out):
        with pytest.raises(OutputError, match=rf"process {os.getpid()} on .* is writing to it"), owned(out):
            pass
        assert (out / LOCK).exists()
    assert not (out / LOCK).exists()
    with owned(out):
        pass


def test_a_killed_owner_leaves_nothing_that_holds_the_directory(tmp_path: Path) -> None:
    code = (
        "import os, signal; from pathlib import Path; from pairkit.ownership import owned\n"
        f"with owned(Path({str(tmp_path)!r})): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    assert (tmp_path / LOCK).exists()
    with owned(tmp_path):
        pass


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("start")
    data = write_data(folder / "sets", random_sets(24))
    model = model_folder(folder / "model")
    words = f"train --loss dpo --data {data} --model {model} --max-length 64 max_steps=12 save_every=100000"
    return words.split()


def start(words: list[str], out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pairkit", *words, "--out", str(out)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.full
def test_two_runs_at_once(words: list[str], tmp_path: Path) -> None:
    """The second one, started in any way, is refused; the first one ends as if it had been alone."""
    alone, out = tmp_path / "alone", tmp_path / "out"
    first = start(words, out)
    while not (out / "run.json").exists() and first.poll() is None:
        time.sleep(0.01)
    first.send_signal(signal.SIGSTOP)  # or it may end before the others have begun
    for more in ([], ["--on-existing", "delete", "--seed", "1"]):
        second = start([*words, *more], out)
        _, errors = second.communicate(timeout=120)
        assert second.returncode == 1, errors
        assert f"process {first.pid} on" in errors, errors
        assert first.poll() is None
    first.send_signal(signal.SIGCONT)
    _, errors = first.communicate(timeout=300)
    assert first.returncode == 0, errors
    by_itself = start(words, alone)
    by_itself.communicate(timeout=300)
    assert by_itself.returncode == 0
    assert hashes(out / "model") == hashes(alone / "model")
    assert not (out / LOCK).exists()


@pytest.mark.parametrize("more", [[], ["--on-existing", "delete"]], ids=["again", "delete"])
def test_a_run_in_a_directory_that_has_an_owner_is_refused(
    words: list[str],
    more: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Here the owner is this process; the mark `full` has two runs."""
    out = tmp_path / "out"
    with owned(out):
        before = hashes(out)
        ended = run_in_process(" ".join([*words, "--out", str(out), *more]), capsys, monkeypatch)
        assert ended.code == 1
        assert f"process {os.getpid()} on" in ended.errors
        assert hashes(out) == before


def test_a_run_that_fails_as_it_starts_leaves_no_directory(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    more = ["--reference", str(tmp_path / "nowhere"), "--out", str(out)]
    assert run_in_process(" ".join([*words, *more]), capsys, monkeypatch).code == 1
    assert not out.exists()
