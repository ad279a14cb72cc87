"""Some kB that unpack to millions of rows: reading takes little time for each, and little memory."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.row_files import read

from pairkit.errors import InputError
from pairkit.readers import csv, csv_rows, survey_lines
from pairkit.readers.csv_rows import SAMPLE, header_row
from pairkit.readers.formats import blocks
from pairkit.readers.survey import survey
from pairkit.readers.unpacked import unit_size

HEADER = "prompt,chosen,rejected\n"
FEW = 50


def written(path: Path, text: str) -> Path:
    path.write_bytes(gzip.compress(text.encode()))
    return path


@pytest.mark.parametrize("row", ["a\n", ",,,\n", "a,b\n"])
def test_a_csv_of_rows_that_do_not_fit_its_header_is_refused(
    row: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pyarrow shows each of them to Python."""
    monkeypatch.setattr(csv, "MISFITS", FEW)
    path = written(tmp_path / "rows.csv.gz", HEADER + "p,c,r\n" * 10 + row * 100_000)
    for use in (survey, lambda path: list(blocks(path, 100))):
        with pytest.raises(InputError, match=rf"than its header \(3\), {FEW} so far; correct the header"):
            use(path)


def test_as_many_rows_that_fit_keep_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv, "MISFITS", FEW)
    batch = read(written(tmp_path / "rows.csv.gz", HEADER + "p,c,r\na\n" * 10 * FEW))
    assert (batch.sets.num_rows, batch.quarantine.num_rows) == (10 * FEW, 10 * FEW)
    assert set(batch.quarantine["reason"].to_pylist()) == {"invalid_csv"}


HEADERS = {
    "plain": "prompt,chosen,rejected\n",
    "quotes": '"prompt","cho\nsen","re""j"\n',
    "no end": "prompt,chosen,rejected",
    "blank lines": "\n\r\n\nprompt,chosen,rejected\r\n",
    "carriage returns": "prompt,chosen,rejected\r",
    "marked": "\ufeffprompt,chosen,rejected\n",
    "longer than a sample": "prompt," + "x" * (2 * SAMPLE) + ",rejected\n",
    "ends at the sample": "p" * (SAMPLE - 1) + "\n",
    "break at the sample": "p" * (SAMPLE - 1) + "\r\n",
}


@pytest.mark.parametrize("name", HEADERS)
def test_the_header_is_read_alone(name: str, tmp_path: Path) -> None:
    header = HEADERS[name]
    rest = (
        "" if name == "no end" else "more,of,it\r" * 5 if name == "carriage returns" else "more,of,it\n" * 5
    )
    for skipped in ("", "sep=,\n"):
        path = tmp_path / "rows.csv"
        path.write_bytes((skipped + header + rest).encode())
        with path.open("rb") as file:
            assert header_row(file, ",", int(bool(skipped))).decode() == skipped + header


def test_a_header_without_end_is_read_no_further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_rows, "CSV_BLOCK", 1 << 18)
    path = tmp_path / "rows.csv"
    path.write_bytes(b'prompt,"' + b"x" * (1 << 20))
    with path.open("rb") as file:
        assert len(header_row(file, ",", 0)) <= 1 << 19
        assert file.tell() <= 1 << 19


@pytest.mark.parametrize("line", ["{}", "null", "x", '{"prompt": [1, "a"]}', '{"prompt": {}}'])
def test_equal_lines_are_parsed_once(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[int] = []
    real = survey_lines.parse_lines

    def counted(lines: list[bytes], first: int) -> Any:
        parsed.append(len(lines))
        return real(lines, first)

    monkeypatch.setattr(survey_lines, "parse_lines", counted)
    good, other = '{"prompt": "p", "n": 1}', '{"prompt": null, "n": 2}'
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join([good, line, other] * 3000), encoding="utf-8")
    found = survey(path)
    assert found.rows == 9000
    assert found.non_null["n"] == 6000
    assert found.non_null["prompt"] == 3000 * (1 + ("prompt" in line))
    # Arrow itself reads an object without fields.
    assert sum(parsed) == (0 if line == "{}" else 3)


def test_a_byte_order_mark_is_that_of_the_first_line_alone(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('\ufeff{"prompt": "p"}\n{"prompt": ["p"]}\n' * 2, encoding="utf-8")
    found = survey(path)
    assert (found.rows, found.non_null["prompt"]) == (4, 3)


def test_a_parquet_file_may_not_declare_rows_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nulls take no bytes in the file."""
    rows = 400_000
    path = tmp_path / "rows.parquet"
    names = ("prompt", "chosen", "rejected")
    pq.write_table(pa.table({name: pa.nulls(rows, pa.string()) for name in names}), path)
    assert survey(path).rows == rows
    monkeypatch.setattr(unit_size, "UNPACKED_BYTES", 1 << 20)
    monkeypatch.setattr(unit_size, "RATIO", 1)
    for use in (survey, lambda path: list(blocks(path, 1000))):
        with pytest.raises(InputError, match=r"would unpack to about 4,800,000 bytes"):
            use(path)


def parquet_of_nulls(path: Path, rows: int) -> Path:
    names = ("prompt", "chosen", "rejected")
    schema = pa.schema([(name, pa.string()) for name in names])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        writer.write_table(pa.table({name: pa.nulls(rows, pa.string()) for name in names}))
        writer.write_table(pa.table({name: [f"text {n}" for n in range(3000)] for name in names}))
    return path


MILLIONS: dict[str, Callable[[Path, int], Path]] = {
    "nulls.parquet": parquet_of_nulls,
    "empty.csv.gz": lambda path, rows: written(path, HEADER + ",,\n" * rows),
    "quoted.csv.gz": lambda path, rows: written(path, HEADER + '"","",""\n' * rows),
    "misfits.csv.gz": lambda path, rows: written(path, HEADER + "a\n" * rows),
    "empty.jsonl.gz": lambda path, rows: written(path, "{}\n" * rows),
    "blank.jsonl.gz": lambda path, rows: written(path, '{"prompt": "p"}\n' + "\n" * rows),
    "empty.json.gz": lambda path, rows: written(path, "[" + "{}," * rows + "{}]"),
}
MICROSECONDS = 40  # of processor time per row: several times what each takes here


@pytest.mark.slow
@pytest.mark.parametrize("name", MILLIONS)
def test_a_million_rows_take_some_microseconds_each(name: str, tmp_path: Path) -> None:
    rows = 1_000_000
    path = MILLIONS[name](tmp_path / name, rows)
    assert path.stat().st_size < 100_000
    start = time.process_time()
    try:
        survey(path)
        first = blocks(path, 1000)
        next(first).load()
        first.close()
    except InputError as error:
        assert "more than half of its rows" in str(error)  # noqa: PT017  # only one of them is refused
        assert name == "misfits.csv.gz"
    assert time.process_time() - start < rows * MICROSECONDS * 1e-6
