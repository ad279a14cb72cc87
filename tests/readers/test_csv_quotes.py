"""Cells of CSV in which text follows the closing quote: parsers read "p"x as px, each without a word."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.row_files import read

from pairkit.errors import InputError
from pairkit.readers.blocks import BadLine
from pairkit.readers.csv import csv_blocks
from pairkit.readers.csv_rows import Watched

GOOD = [
    "p",
    '"p"',
    'p"q"',
    '""',
    "",
    '"a""b"',
    '"a\nb"',
    '"""x"""',
    '"a,b"',
    ' "p"',
    'x""y',
    '"é"',
    '"\n""x"""',
]
LOOSE = ['"p"x', '""x', '"p" ', '"a""x"b', '"a\nb"x', '"x"""y"', '"a"\'']


@pytest.mark.default('"x"""y"', '"p" ')
@pytest.mark.parametrize("cell", LOOSE)
def test_text_after_a_closing_quote_goes_to_quarantine(tmp_path: Path, cell: str) -> None:
    rows = [*(f'"p {number}",c,"r ""q"""' for number in range(5)), f"{cell},c,r", "p,c,r"]
    (tmp_path / "rows.csv").write_text("\n\n".join(["prompt,chosen,rejected", *rows]))
    for unit in (1, 1000):
        batch = read(tmp_path / "rows.csv", rows=unit)
        assert batch.sets.num_rows == 6
        (row,) = batch.quarantine.to_pylist()
        assert (row["reason"], json.loads(row["row"])) == ("invalid_csv", f"{cell},c,r")
        assert row["detail"].startswith("rows.csv, row 6: has text after the closing quote of a cell; write")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(GOOD + LOOSE), min_size=2, max_size=3), max_size=5),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from([1, 2, 100]),
)
def test_every_other_row_is_what_the_standard_library_reads(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], end: str, unit: int
) -> None:
    path = tmp_path_factory.mktemp("csv") / "rows.csv"
    text = end.join(["a,b,c", *(",".join(row) for row in rows)])
    path.write_bytes(text.encode())
    try:
        found = numbered(path, unit)
    except InputError:
        return  # an open quote, or no row of three cells
    wanted = [cells for cells in csv.reader(io.StringIO(text, newline="")) if cells][1:]
    assert sorted(found) == list(range(1, len(wanted) + 1))
    for number, (row, cells) in enumerate(zip(rows, wanted, strict=True), 1):
        bad = len(cells) != 3 or any(cell in LOOSE for cell in row)
        assert isinstance(found[number], BadLine) == bad
        assert bad or found[number] == cells


def numbered(path: Path, unit: int) -> dict[int, Any]:
    """The cells of each row, or why it is bad."""
    found: dict[int, Any] = {}
    for block in csv_blocks(path, None, unit):
        raw = block.load()
        found |= {line.number: line for line in raw.bad}
        for table, numbers, _ in raw.tables:
            rows = [[cell or "" for cell in row.values()] for row in table.to_pylist()]
            found |= dict(zip(numbers.tolist(), rows, strict=True))
    return found


@pytest.mark.parametrize("cell", LOOSE)
def test_such_cells_are_found_wherever_a_file_is_cut(cell: str) -> None:
    data = f"a,b\nx,{cell}\n,{cell}\n".encode()
    for place in range(len(data)):
        watched = Watched(io.BytesIO(data), ",")
        for size in (place, 1, 2, len(data)):
            watched.read(size)
        assert watched.suspicious
    plain = Watched(io.BytesIO(b'a,b\n"x","say ""hi"" to"\n"","y"\n'), ",")
    for _ in range(40):
        plain.read(1)
    assert not plain.suspicious
