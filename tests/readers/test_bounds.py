"""What a file may decide about memory: units end by bytes, and what unpacks to too much is one message."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.row_files import PAIR, WRITERS, parquet_of, read

from pairkit.errors import InputError
from pairkit.readers import blocks as readers_blocks
from pairkit.readers import csv, text
from pairkit.readers.blocks import COLUMNS, UNIT_BYTES
from pairkit.readers.formats import blocks
from pairkit.readers.row_sizes import row_sizes
from pairkit.readers.survey import survey
from pairkit.readers.unpacked import parquet_pages, unit_size
from pairkit.readers.written import value_stream

# Smaller bounds, and files that are as many times smaller.
SMALL_UNIT = 1 << 20
LONG = 1 << 15
ROWS = 40


def shared(length: int, rows: int) -> pa.Table:
    """Return rows that all have one text of a dictionary as prompt."""
    prompts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["p" * length]))
    return pa.table({"prompt": prompts, "chosen": ["c"] * rows, "rejected": ["r"] * rows})


def write_ipc(path: Path, table: pa.Table) -> None:
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(str(path), table.schema, options=options) as writer:
        writer.write_table(table)


@pytest.mark.parametrize("name", ["rows.jsonl", "array.json", "rows.parquet", "rows.arrow", "rows.csv"])
def test_units_end_by_bytes_and_a_build_that_continues_finds_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for module in (readers_blocks, csv, unit_size):
        monkeypatch.setattr(module, "UNIT_BYTES", SMALL_UNIT)
    rows = [{**PAIR, "prompt": f"{number:07}" + "p" * LONG} for number in range(ROWS)]
    WRITERS[name](tmp_path / name, rows)
    loaded = [block.load() for block in blocks(tmp_path / name, 1000)]
    sizes = [raw.size for raw in loaded]
    assert len(sizes) > 1
    assert sum(sizes) == ROWS
    assert all(sum(row_sizes(part.table).sum() for part in raw.tables) <= SMALL_UNIT for raw in loaded)
    found = pa.concat_tables([part.table for raw in loaded for part in raw.tables])
    assert [prompt.as_py()[:7] for prompt in found["prompt"]] == [f"{number:07}" for number in range(ROWS)]
    # Without the first, as a build that continues loads them.
    others = (block for place, block in enumerate(blocks(tmp_path / name, 1000)) if place)
    rest = [part.table for block in others for part in block.load().tables]
    assert pa.concat_tables(rest).equals(found.slice(sizes[0]))


@pytest.mark.parametrize("ending", ["", "\n", "\n\n"])
def test_a_line_that_is_too_long_is_a_bad_row_and_its_neighbors_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    line = json.dumps(PAIR)
    path = tmp_path / "rows.jsonl"
    for length in (900, 1001, 1500, 5000):
        with monkeypatch.context() as patched:
            for name, value in {"ROW_BYTES": 1000, "CHUNK": 64, "KEPT": 100}.items():
                patched.setattr(text, name, value)
            # Its beginning alone is valid JSON.
            long = line + " " * (length - len(line) - 1) + "x"
            path.write_text("\n".join([line, long, line, long, line]) + ending)
            batch = read(path)
        assert (batch.sets.num_rows, batch.counts["rows"]) == (3, 5)
        reasons = {"too_long"} if length > 1000 else {"invalid_json"}
        assert set(batch.quarantine["reason"].to_pylist()) == reasons
        assert batch.quarantine["detail"][0].as_py().startswith("rows.jsonl, row 2: is ")
        if length > 1000:
            assert f"({length:,})" in batch.quarantine["detail"][0].as_py()
            assert batch.quarantine["row"].to_pylist() == [json.dumps(long[:100])] * 2


# Written small -> what the message says.
BOMBS = {
    "d.parquet": (65 << 14, 9, "the dictionary of the column 'prompt' unpacks to 1,064,964 bytes"),
    "e.parquet": (20 << 14, 100_000, "would unpack to about 32,"),
    "d.arrow": (20 << 14, 100_000, "would unpack to about 32,"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_one_long_text_of_a_dictionary_for_all_rows_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(parquet_pages, "DICTIONARY_BYTES", 1 << 20)
    monkeypatch.setattr(unit_size, "UNPACKED_BYTES", 1 << 30)
    length, rows, message = BOMBS[name]
    path, table = tmp_path / name, shared(length, rows)
    if path.suffix == ".parquet":
        pq.write_table(table, path, compression="zstd", dictionary_pagesize_limit=1 << 30)
    else:
        write_ipc(path, table)
    assert path.stat().st_size < 1 << 20
    for use in (survey, lambda path: list(blocks(path, 1000))):
        with pytest.raises(InputError, match=message) as raised:
            use(path)
        assert str(path) in str(raised.value)


@pytest.mark.slow
def test_pages_that_unpack_to_gigabytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    prompts = pa.array(["p" * (9 << 20)] * 130)
    pq.write_table(pa.table({"prompt": prompts}), path, compression="zstd", use_dictionary=False)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(InputError, match=r"its pages unpack to 1,2.* more than 1,073,741,824"):
        survey(path)


@pytest.mark.parametrize("codec", ["snappy", "gzip", "brotli", "lz4", "zstd", "none"])
def test_honest_files_that_repeat_a_text_are_read_in_small_units(tmp_path: Path, codec: str) -> None:
    path, rows = tmp_path / "rows.parquet", 1200
    pq.write_table(shared(200_000, rows), path, compression=codec)
    sizes = [block.size for block in blocks(path, 1000)]
    assert (sum(sizes), max(sizes)) == (rows, UNIT_BYTES // 200_004)


def test_nested_dictionaries_and_short_texts_keep_the_units(tmp_path: Path) -> None:
    table = pa.table({"prompt": ["p", "q"] * 3000, "completions": [["a", "b" * 900], ["c"]] * 3000})
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=1500)
    assert [block.size for block in blocks(tmp_path / "rows.parquet", 1000)] == [1000] * 6


def test_damaged_parquet_files_are_read_or_refused_and_end_no_process(tmp_path: Path) -> None:
    _damage(tmp_path / "rows.parquet", 80)


@pytest.mark.slow
def test_more_damaged_parquet_files(tmp_path: Path) -> None:
    _damage(tmp_path / "rows.parquet", 5000)


def _damage(path: Path, times: int) -> None:
    table = pa.table({"prompt": [f"p{n % 7}" * 20 for n in range(300)], "completions": [["a", "b"]] * 300})
    good, random = np.frombuffer(parquet_of(table), np.uint8), np.random.default_rng(5)
    refused: list[str] = []
    for _ in range(times):
        content = good.copy()
        # Half of them in the footer, which says how everything else is read.
        low = len(good) - 1000 if random.random() < 0.5 else 4
        content[random.integers(low, len(good), 2)] = random.integers(0, 256, 2)
        path.write_bytes(content.tobytes())
        try:
            rows = survey(path).rows
            assert sum(block.load().size for block in blocks(path, 100)) == rows
        except InputError as error:
            refused.append(str(error))
    # Most of them, each in one message of bounded length.
    assert len(refused) > times // 4
    assert max(map(len, refused)) < 1000


@pytest.mark.default("rows.arrow", "rows.jsonl")
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv", "rows.parquet", "rows.arrow"])
def test_far_too_many_columns_are_refused_in_a_short_message(tmp_path: Path, name: str) -> None:
    row = {**PAIR, **{f"column_{number}": "v" for number in range(COLUMNS)}}
    WRITERS[name](tmp_path / name, [row])
    with pytest.raises(InputError, match=f"has 10,003 columns, more than {COLUMNS:,}") as raised:
        survey(tmp_path / name)
    assert len(str(raised.value)) < 600 + len(str(tmp_path))


def test_a_list_is_read_value_by_value_and_errors_have_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(value_stream, "CHUNK", 1000)
    path = tmp_path / "rows.json"
    objects = (json.dumps({**PAIR, "n": number, "x": "é" * 50}, ensure_ascii=False) for number in range(600))
    values = ",\n".join(objects)
    path.write_text(f"[{values}]\n", encoding="utf-8")
    assert sum(block.size for block in blocks(path, 100)) == 600
    for end, problem in {
        "": "the list ends early: line 600 ",
        " {}]": "a comma is missing: line 600 ",
        ", x]": "Expecting value: line 600 ",
        "]\n\n [1]": "something follows the list: line 602 column 2",
    }.items():
        path.write_text(f"[{values}{end}", encoding="utf-8")
        with pytest.raises(InputError, match=problem):
            list(blocks(path, 100))
