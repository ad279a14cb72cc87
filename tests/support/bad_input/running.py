"""Running a case of bad input through the command line, and checking how it failed."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
from support.bad_input.case import Case

from pairkit.cli import main
from pairkit.files import LOCK

OUT = Path("runs/data/files")


class Ended(NamedTuple):
    """How a command ended: exit code, standard output, standard error."""

    code: int
    out: str
    errors: str


Run = Callable[[str], Ended]


def run_in_process(
    words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *more: str
) -> Ended:
    """Run `pairkit WORDS MORE` in this process; what has a space is in `more`."""
    monkeypatch.setattr(sys, "argv", ["pairkit", *words.split(), *more])
    capsys.readouterr()
    with as_before(), pytest.raises(SystemExit) as stop:
        main()
    output = capsys.readouterr()
    return Ended(stop.value.code or 0, output.out, output.err)  # type: ignore[arg-type]


@contextmanager
def as_before() -> Iterator[None]:
    """Undo what a command does to its process, which is this one."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    streams = sys.stdout, sys.stderr
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
        for number, handler in handlers.items():
            signal.signal(number, handler)


def prepare(case: Case) -> None:
    """Write the files of a case into the working directory, and change them."""
    for name, content in case.files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content)
    case.prepare()


def matches(pattern: str, text: str) -> bool:
    """Whether `text` is `pattern`, with anything in place of each …."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("…"))), text) is not None


def check_failure(case: Case, ended: Ended) -> None:
    """Check that a command printed one line, the case's, no traceback and nothing on standard output."""
    *notes, last = ended.errors.splitlines()
    assert matches(f"error: {case.says}", last), ended.errors
    assert not any("error:" in line or "Traceback" in line for line in notes), ended.errors
    assert ended.code == case.code
    assert not ended.out


def files(folder: str | Path) -> dict[str, bytes]:
    """Read every file under a folder, but locks, which name the last process that had them."""
    paths = (path for path in Path(folder).rglob("*") if path.is_file() and path.name != LOCK)
    return {str(path): path.read_bytes() for path in paths}


def read_built() -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    """Read counts, sets and quarantine of the dataset in `OUT`, and check that their numbers add up."""
    counts = json.loads((OUT / "pairkit.json").read_text())["counts"]
    sets = [row for file in sorted((OUT / "data").iterdir()) for row in pq.read_table(file).to_pylist()]
    quarantine = pq.read_table(OUT / "quarantine.parquet").to_pylist()
    mined_away = counts["mine"]["sets_in"] - counts["mine"]["sets_out"]
    assert counts["source"]["rows"] - counts["source"]["rows_quarantined"] == counts["mine"]["sets_in"]
    assert counts["source"]["rows_quarantined"] + mined_away == len(quarantine)
    assert counts["source"]["rows"] == len(sets) + len(quarantine)
    return counts, sets, quarantine


def stop_after_the_first_shard(monkeypatch: pytest.MonkeyPatch, stop: signal.Signals) -> None:
    """Make this process send itself `stop` as soon as the first shard of a build is finished."""
    replace = os.replace

    def replace_and_stop(old: Any, new: Any) -> None:
        replace(old, new)
        if Path(new).name == "00000":
            os.kill(os.getpid(), stop)

    monkeypatch.setattr(os, "replace", replace_and_stop)
