"""Files that cannot be read: one message each, with the path."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.row_files import PAIR, parquet_bytes, parquet_of, read

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
    "wrong extension": (
        {"text.txt": LINES},
        "text.txt",
        "rename it to .csv or .tsv if its first line names columns, or",
    ),
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
    "prose": ({"a.json": b"hello\nthere"}, "a.json", "neither one JSON value nor one JSON object per line"),
    "one object of another kind": (
        {"a.json": b'{\n "rows": [1]\n}'},
        "a.json",
        " rows; name the columns with --map",
    ),
    "two lists": (
        {"a.json": json.dumps({"train": [PAIR], "test": [PAIR]}).encode()},
        "a.json",
        "holds several lists of objects ('train', 'test'); write the one to read to a file of its own",
    ),
    "one row or many": (
        {"a.json": json.dumps({"prompt": "p", "examples": [PAIR]}).encode()},
        "a.json",
        "may be one row, or the rows under 'examples'",
    ),
    "lists without names": ({"a.json": b'[["p", "c"], ["q", "d"]]'}, "a.json", "a list of lists, so that no"),
    "texts without names": ({"a.jsonl": b'["p", "q"]'}, "a.jsonl", "a list of texts, so that no field"),
    "split of another width": (
        {"a.json": b'{"columns": ["prompt"], "data": [["a", "b"]]}'},
        "a.json",
        "one value for each of the 1 names in `columns`",
    ),
    "split with two columns of a name": (
        {"a.json": b'{"columns": ["prompt", "prompt"], "data": [["a", "b"]]}'},
        "a.json",
        "two columns are named 'prompt'",
    ),
    "split with a short index": (
        {"a.json": b'{"columns": ["prompt"], "index": [4], "data": [["a"], ["b"]]}'},
        "a.json",
        "`index` has to be a list of one value for each of the 2 rows",
    ),
    "array in latin-1": (
        {"a.json": b'[{"prompt": "caf\xe9"}]'},
        "a.json",
        "iconv -f WINDOWS-1252 -t UTF-8 a.json",
    ),
    "lines in latin-1": ({"a.json": b'{"prompt": "caf\xe9"}\n{}'}, "a.json", "not JSON in UTF-8 ("),
    "utf-16 without a mark": (
        {"a.csv": "prompt\na\n".encode("utf-16-le")},
        "a.csv",
        "holds zero bytes, as UTF-16 without its mark does; convert it, as in: iconv -f UTF-16LE",
    ),
    "utf-16 cut in a character": (
        {"a.csv": "prompt\na\n".encode("utf-16")[:-1]},
        "a.csv",
        "is not UTF-16, which its first bytes name",
    ),
    "not arrow": ({"a.arrow": LINES}, "a.arrow", "not an Arrow file, or damaged: "),
    "archive": (
        {"a.zip": b"PK"},
        "a.zip",
        "unpack it, and pass the folder or one of its files; pairkit reads",
    ),
    "packed tar": ({"a.tar.gz": b"x"}, "a.tar.gz", "unpack it, and pass the folder"),
    "lines in bzip2": ({"a.jsonl.bz2": b"x"}, "a.jsonl.bz2", "unpack it, or compress it with gzip or zstd"),
    "sheet": ({"a.xlsx": b"PK"}, "a.xlsx", "save the sheet as CSV (UTF-8)"),
    "pickle": ({"a.pkl": b"x"}, "a.pkl", "read it with pandas, and write it with to_json"),
    "folder with an archive": ({"f/rows.zip": b"PK"}, "f", "; rows.zip: unpack it, and pass the folder"),
    "unfinished array": ({"a.json": b'[{"prompt": "a"}, '}, "a.json", "not JSON ("),
    "not parquet": ({"a.parquet": LINES}, "a.parquet", "not a Parquet file"),
    "damaged parquet": ({"a.parquet": damaged_parquet()}, "a.parquet", "the Parquet file is damaged"),
    "two parquet columns of a name": (
        {"a.parquet": parquet_of(pa.table([pa.array(["a"])] * 2, names=["prompt", "prompt"]))},
        "a.parquet",
        "two columns are named 'prompt'",
    ),
    "two columns of a name": ({"a.csv": b"prompt,prompt\na,b\n"}, "a.csv", "two columns are named 'prompt'"),
    "csv in latin-1": (
        {"a.csv": b"prompt\ncaf\xe9\n"},
        "a.csv",
        "iconv -f WINDOWS-1252 -t UTF-8 a.csv > utf8-a.csv",
    ),
    "another parquet": (
        {"a.parquet": parquet_bytes(alpha=[1])},
        "a.parquet",
        " alpha; name the columns with --map",
    ),
    "another jsonl": ({"a.jsonl": b'{"alpha": 1}\n'}, "a.jsonl", " alpha; name the columns with --map"),
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
