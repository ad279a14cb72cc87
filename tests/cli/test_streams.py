"""Standard output and error that are full or gone: the work is done, and its exit code says so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.grids import some
from support.raw import ultrafeedback


def pairkit(words: list[str], ending: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command in a shell, with `ending` behind it."""
    shell = ["bash", "-o", "pipefail", "-c", f'"$@" {ending}', "bash"]
    command = [*shell, sys.executable, "-m", "pairkit", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ultrafeedback(tmp_path_factory.mktemp("raw") / "rows.jsonl", 300)


@pytest.mark.full
@pytest.mark.parametrize(
    "ending",
    some(
        lambda ending: ending == "2>&1 | true",
        ["2>/dev/full", "2>&-", "2> >(true)", "| true", ">&-", "2>&1 | true"],
    ),
)
def test_a_build_continues_if_nobody_reads_what_it_prints(ending: str, source: Path, tmp_path: Path) -> None:
    words = ["build", "--source", "ultrafeedback", "--path", str(source), "--out", str(tmp_path / "out")]
    ended = pairkit(words, ending)
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "Exception" not in ended.stderr
    assert (tmp_path / "out" / "pairkit.json").is_file()


def test_a_result_that_cannot_be_printed_is_one_line() -> None:
    ended = pairkit(["sources"], ">/dev/full")
    assert ended.returncode == 1
    assert ended.stderr == (
        "error: the result could not be written to standard output: No space left on device\n"
    )


@pytest.mark.full
def test_a_reader_that_leaves_early_is_no_error() -> None:
    ended = pairkit(["losses"], "| head -1")
    assert ended.returncode == 0
    assert not ended.stderr
