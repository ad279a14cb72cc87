"""pyarrow reads CSV ahead in a thread of its own, which must not outlive the reading."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pairkit.errors import InputError
from pairkit.readers import csv
from pairkit.readers.csv_rows import ReadAhead, Watched
from pairkit.readers.formats import blocks

BLOCK = 1 << 14
ROW = b"p,a,b\n"


class Slow:
    """A stream whose reads take a moment; `flying` and `reads` are those in progress and those begun."""

    closed = False
    flying = reads = 0

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def read(self, size: int = -1) -> bytes:
        Slow.flying, Slow.reads = Slow.flying + 1, Slow.reads + 1
        time.sleep(0.02)
        try:
            return bytes(self.stream.read(size))
        finally:
            Slow.flying -= 1


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    real = csv.open_text

    @contextmanager
    def opened(path: Path, compression: str | None) -> Iterator[Slow]:
        with real(path, compression) as stream:
            yield Slow(stream)

    monkeypatch.setattr(csv, "open_text", opened)
    monkeypatch.setattr(csv, "CSV_BLOCK", BLOCK)
    monkeypatch.setattr(Slow, "flying", 0)
    monkeypatch.setattr(Slow, "reads", 0)


def check_no_reads() -> None:
    assert not Slow.flying
    before = Slow.reads
    time.sleep(0.2)
    assert Slow.reads == before


@pytest.mark.usefixtures("slow")
def test_a_file_that_is_not_wanted_to_its_end_is_read_no_further(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_bytes(b"prompt,chosen,rejected\n" + ROW * (10 * BLOCK))
    found = blocks(path, 100)
    assert next(found).size == 100
    found.close()
    check_no_reads()


@pytest.mark.usefixtures("slow")
def test_a_refused_file_is_read_no_further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Watched._may_be_loose

    def slowly(watched: Watched, data: bytes) -> bool:
        """What is done with a chunk after it was read takes a moment, too."""
        Slow.flying += 1
        time.sleep(0.02)
        Slow.flying -= 1
        return real(watched, data)

    monkeypatch.setattr(Watched, "_may_be_loose", slowly)
    path = tmp_path / "open.csv"
    path.write_bytes(b"prompt,chosen,rejected\n" + ROW * BLOCK + b'p,"' + ROW * (10 * BLOCK))
    # With its traceback, which keeps the reader of pyarrow alive as the report of an error does.
    with pytest.raises(InputError, match="a quote is never closed") as refused:
        list(blocks(path, 100))
    check_no_reads()
    assert refused.tb is not None


def test_a_thread_that_does_not_come_back_is_not_waited_for() -> None:
    with ReadAhead(io.BytesIO(b"x" * 100)) as stream:
        assert stream.read(1) == b"x"
    assert stream.read(1) == b""
