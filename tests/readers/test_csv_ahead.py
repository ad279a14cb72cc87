"""pyarrow reads CSV ahead in a thread of its own, which must not outlive the reading."""

from __future__ import annotations

import io
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pytest

from pairkit.errors import InputError
from pairkit.readers import csv
from pairkit.readers.csv_ahead import ReadAhead
from pairkit.readers.csv_rows import Watched
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


@pytest.mark.parametrize("wanted", [1, None], ids=["a batch", "all"])
def test_pyarrow_holds_neither_stream_nor_handler_afterwards(wanted: int | None) -> None:
    # The row that is too short calls the handler; the quote that is never closed is an error.
    content = ROW * BLOCK + b"p,a\n" + b'p,"' + ROW * BLOCK
    read = pacsv.ReadOptions(use_threads=False, block_size=BLOCK, column_names=["p", "a", "b"])
    skipped: list[pacsv.InvalidRow] = []

    def skip(row: pacsv.InvalidRow) -> str:
        skipped.append(row)
        return "skip"

    fails = pytest.raises(pa.ArrowInvalid) if wanted is None else nullcontext()
    with fails as refused, ReadAhead(io.BytesIO(content)) as ahead:
        batches = ahead.batches(skip, ",", read, pacsv.ConvertOptions())
        held = weakref.ref(ahead._stream)
        assert [batch.num_columns for batch in islice(batches, wanted)] == [3]
    assert held() is None
    assert len(ahead._held) >= 3
    assert not ahead.is_held()
    assert refused is None or (refused.tb is not None and len(skipped) == 1)
