"""Commands in this process: they end with 0, or with a line of error and 1 or 2; nothing else is touched."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from support.bad_input.running import Ended, as_before, files
from support.fuzzing.bounds import bounded

from pairkit.cli import main
from pairkit.errors import PairkitError

LONGEST = 4500  # characters of an error: those of its message, and where it is printed


def command(words: Sequence[str], seconds: float = 20) -> Ended:
    """Run `pairkit WORDS`, and check how it ended. Any exception but `SystemExit` passes through."""
    output, errors = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="strict") for _ in range(2))
    with pytest.MonkeyPatch.context() as patch, as_before():
        patch.setattr(sys, "argv", ["pairkit", *words])
        with (
            redirect_stdout(output),
            redirect_stderr(errors),
            bounded(seconds),
            pytest.raises(SystemExit) as stop,
        ):
            main()
    ended = Ended(int(stop.value.code or 0), _text(output), _text(errors))
    check(ended)
    return ended


def check(ended: Ended) -> None:
    """Check that a command succeeded or that its last line is its only error."""
    assert "Traceback" not in ended.errors, ended.errors
    if ended.code == 0:
        return
    assert ended.code in (1, 2), ended
    *notes, last = ended.errors.splitlines()
    assert last.startswith("error: "), ended.errors
    assert len(last) > len("error: ."), ended.errors
    assert len(last) <= LONGEST, f"{len(last)} characters: {last[:LONGEST]}"
    assert not any(line.startswith("error: ") for line in notes), ended.errors


def one_line(error: PairkitError) -> None:
    """Check an error of the library as the command line would print it."""
    check(Ended(error.exit_code, "", "error: " + " ".join(str(error).split())))


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    return stream.buffer.getvalue().decode("utf-8")  # type: ignore[attr-defined]


def empty(folder: Path) -> Path:
    """Make a folder that is empty, whatever an earlier case left there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


@contextmanager
def untouched(parent: Path, *outputs: Path) -> Iterator[None]:
    """Check that the block changes no file in `parent` but in the outputs, nor makes or removes one."""
    before = _others(parent, outputs)
    yield
    after = _others(parent, outputs)
    assert after == before, {
        name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
    }


def _others(parent: Path, outputs: Sequence[Path]) -> dict[str, bytes]:
    own = tuple(map(str, outputs))
    return {name: content for name, content in files(parent).items() if not name.startswith(own)}
