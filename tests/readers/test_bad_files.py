"""Files that cannot be read: one message each, with the path."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.row_files import PAIR, parquet_bytes, read

from pairkit.errors import InputError
from pairkit.sources import SourceRecipe, open_source

LINES = b"".join(json.dumps({"prompt": str(i)}).encode() + b"\n" for i in range(2000))


def damaged_parquet() -> bytes:
    content = bytearray(parquet_bytes(prompt=[str(i) for i in range(9000)]))
    content[100:2000] = bytes(1900)
    return bytes(content)


# case -> the files to write (or none), the path to read, and what the message has to contain
BAD_FILES: dict[str, tuple[dict[str, bytes], str, str]] = {
    "missing file": ({}, "nowhere.jsonl", "no such file or folder"),
    "glob without a match": ({"a.jsonl": LINES}, "*.ndjson", "no file matches"),
    "wrong extension": ({"text.txt": LINES}, "text.txt", "cannot tell its format; pairkit reads .jsonl"),
    "compressed parquet": ({"p.parquet.gz": b"x"}, "p.parquet.gz", "cannot tell its format"),
    "truncated gzip": ({"a.jsonl.gz": gzip.compress(LINES)[:-30]}, "a.jsonl.gz", "damaged or ends early"),
    "truncated csv": (
        {"a.csv.gz": gzip.compress(b"prompt\n" + LINES)[:-30]},
        "a.csv.gz",
        "damaged or ends early",
    ),
    "truncated array": (
        {"a.json.gz": gzip.compress(json.dumps([PAIR] * 999).encode())[:-30]},
        "a.json.gz",
        "damaged or ends early",
    ),
    "no gzip": ({"a.jsonl.gz": LINES}, "a.jsonl.gz", "gzip stream is damaged"),
    "no zstd": ({"a.jsonl.zst": LINES}, "a.jsonl.zst", "zstd stream is damaged"),
    "empty file": ({"a.jsonl": b""}, "a.jsonl", "is empty"),
    "empty gzip": ({"a.jsonl.gz": gzip.compress(b"")}, "a.jsonl.gz", "contains no rows"),
    "only blank lines": ({"a.jsonl": b"\n\n"}, "a.jsonl", "contains no rows"),
    "empty array": ({"a.json": b"[]"}, "a.json", "contains no rows"),
    "csv header alone": ({"a.csv": b"prompt\n"}, "a.csv", "contains no rows"),
    "empty parquet": (
        {"a.parquet": parquet_bytes(prompt=pa.array([], pa.string()))},
        "a.parquet",
        "contains no rows",
    ),
    "pretty json": ({"a.json": b'{\n "rows": [1]\n}'}, "a.json", "neither a JSON array nor one JSON object"),
    "unfinished array": ({"a.json": b'[{"prompt": "a"}, '}, "a.json", "not JSON ("),
    "not parquet": ({"a.parquet": LINES}, "a.parquet", "not a Parquet file"),
    "damaged parquet": ({"a.parquet": damaged_parquet()}, "a.parquet", "the Parquet file is damaged"),
    "two columns of a name": ({"a.csv": b"prompt,prompt\na,b\n"}, "a.csv", "two columns are named 'prompt'"),
    "csv in latin-1": ({"a.csv": b"prompt\ncaf\xe9\n"}, "a.csv", "not CSV in UTF-8 with a header ("),
    "another parquet": (
        {"a.parquet": parquet_bytes(alpha=[1])},
        "a.parquet",
        "expected the columns prompt or",
    ),
    "another jsonl": ({"a.jsonl": b'{"alpha": 1}\n'}, "a.jsonl", "found alpha"),
    "folder without data": ({"f/readme.md": b"x"}, "f", "contains no file that pairkit reads"),
    "folder of several formats": (
        {"f/a.jsonl": LINES, "f/b.csv": b"prompt\na\n"},
        "f",
        "contains files of several formats (csv, jsonl)",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_one_message(tmp_path: Path, case: str) -> None:
    files, name, message = BAD_FILES[case]
    for file, content in files.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(content)
    with pytest.raises(InputError) as raised:
        read(tmp_path / name)
    assert message in str(raised.value)
    assert str(tmp_path / name) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_message_for_a_file_of_another_source_lists_its_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"alpha": [1], "beta": [2]}), tmp_path / "rows.parquet")
    with pytest.raises(
        InputError,
        match="not a file of source 'nectar': expected the columns prompt, answers; found alpha, beta",
    ):
        open_source(SourceRecipe(name="nectar", path=str(tmp_path / "rows.parquet")))
