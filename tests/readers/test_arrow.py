"""Arrow files: IPC streams, IPC files and Feather of any writer."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pytest
from support.candidates import said
from support.row_files import read

from pairkit.errors import InputError
from pairkit.readers import arrow_file
from pairkit.readers.formats import blocks

ROWS: list[dict[str, Any]] = [
    {"prompt": f"p{row}", "completions": [f"a{row}", "b"], "scores": [1.0, 0.5], "tag": ["x", None][row % 2]}
    for row in range(2500)
]


def write_stream(path: Path, table: pa.Table, **options: Any) -> None:
    with pa.ipc.new_stream(str(path), table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=700)


def polars_frame() -> pl.DataFrame:
    return pl.DataFrame(ROWS).with_columns(pl.col("tag").cast(pl.Categorical))


TABLE = pa.Table.from_pylist(ROWS)
WRITERS = {
    "stream.arrow": lambda path: write_stream(path, TABLE),
    "compressed stream.arrow": lambda path: write_stream(path, TABLE, compression="zstd"),
    "file.feather": lambda path: pyarrow.feather.write_feather(TABLE, path, chunksize=700),
    "feather as.arrow": lambda path: pyarrow.feather.write_feather(TABLE, path, compression="uncompressed"),
    # Texts as views, lists with large offsets, categories.
    "polars.arrow": lambda path: polars_frame().write_ipc(path, compression="lz4"),
    "polars stream.arrow": lambda path: polars_frame().write_ipc_stream(path),
}


@pytest.mark.default("file.feather", "polars stream.arrow")
@pytest.mark.parametrize("name", WRITERS)
def test_what_every_writer_writes_is_read(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    whole = read(tmp_path / name)
    assert (whole.sets.num_rows, whole.quarantine.num_rows) == (2500, 0)
    last = whole.sets.slice(2499).to_pylist()[0]
    assert said(last["prompt"]) == [{"role": "user", "content": "p2499"}]
    assert [(item["text"], item["score"]) for item in last["completions"]] == [("a2499", 1.0), ("b", 0.5)]
    assert whole.sets["metadata"].to_pylist() == ['{"tag":"x"}', "{}"] * 1250
    for start in (1, 4, 8):
        assert read(tmp_path / name, rows=300, start=start).sets.equals(whole.sets.slice(300 * start))


def test_a_build_that_continues_does_not_decode_the_batches_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.feather"
    pyarrow.feather.write_feather(TABLE, path, chunksize=100)
    decoded = []
    monkeypatch.setattr(arrow_file, "checked", lambda batch: decoded.append(batch.num_rows) or batch)
    rows = [block.load().size for number, block in enumerate(blocks(path, 100)) if number >= 20]
    assert sum(rows) == 500
    assert sum(decoded) == 500


def test_texts_that_are_not_utf8_go_to_quarantine_alone(tmp_path: Path) -> None:
    broken = pa.array([b"good", b"\xed\xa0\x80", b"fine"], pa.binary())
    texts = pa.Array.from_buffers(pa.string(), 3, broken.buffers())
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 2, 3], pa.int32()), texts)
    for column, field in ((texts, "prompt"), (lists, "completions")):
        columns = {"prompt": pa.array(["a", "b", "c"]), field: column}
        write_stream(tmp_path / "rows.arrow", pa.table(columns))
        pa.parquet.write_table(pa.table(columns), tmp_path / "rows.parquet")
        for name in ("rows.arrow", "rows.parquet"):
            batch = read(tmp_path / name)
            assert batch.sets.num_rows == 2, (name, field)
            detail = f"{name}, row 2, field {field!r}: is not UTF-8"
            assert batch.quarantine["detail"].to_pylist() == [detail]


def test_offsets_that_lead_out_of_a_file_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "rows.arrow"
    write_stream(path, pa.table({"prompt": ["abcd", "efgh", "ijkl"]}))
    content = path.read_bytes()
    offsets = np.array([0, 4, 8, 12], np.int32).tobytes()
    assert content.count(offsets) == 1
    # Also where a broken text is met first.
    for text in (b"abcdefgh", b"\xff\xff\xff\xffefgh"):
        damaged = content.replace(b"abcdefgh", text)
        path.write_bytes(damaged.replace(offsets, np.array([0, 4, 8, 1 << 30], np.int32).tobytes()))
        with pytest.raises(InputError, match=r"rows\.arrow: not an Arrow file, or damaged: "):
            read(path)


def test_files_that_end_early_are_errors(tmp_path: Path) -> None:
    for name in ("stream.arrow", "file.feather"):
        WRITERS[name](tmp_path / name)
        content = (tmp_path / name).read_bytes()
        for size in (7, 100, len(content) // 2, len(content) * 9 // 10):
            (tmp_path / name).write_bytes(content[:size])
            with pytest.raises(InputError, match="not an Arrow file, or damaged: "):
                read(tmp_path / name)


def test_feather_of_the_first_version_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows.feather").write_bytes(b"FEA1" + bytes(100))
    with pytest.raises(InputError, match=r"is Feather of version 1; write it again with"):
        read(tmp_path / "rows.feather")


@pytest.mark.default("file.feather", "stream.arrow", "compressed stream.arrow")
@pytest.mark.parametrize("name", WRITERS)
def test_a_damaged_file_is_an_error_or_read(tmp_path: Path, name: str) -> None:
    path, random = tmp_path / name, np.random.default_rng(0)
    WRITERS[name](path)
    content = np.frombuffer(path.read_bytes(), np.uint8)
    # At the ends of a file, where schema, sizes and footer are.
    places = [*range(400), *range(len(content) - 400, len(content))]
    for place in random.choice(places, 40):
        damaged = content.copy()
        damaged[place] ^= random.integers(1, 256)
        path.write_bytes(damaged.tobytes())
        # Any other error fails the test, and so does a crash.
        with suppress(InputError):
            assert sum(block.load().size for block in blocks(path, 1000)) <= 2500
