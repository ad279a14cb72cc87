"""CSV files."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pandas
import pytest
from support.candidates import said
from support.row_files import read

from pairkit.errors import InputError
from pairkit.readers.formats import blocks


def test_rows_with_a_wrong_number_of_cells_go_to_quarantine(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('prompt,note\n"a\nb",1\nc\n"",2\nd,3\ne,4,5\nf,6\ng,7,8\n', encoding="utf-8")
    for size in (1, 2, 100):
        batch = read(path, rows=size)
        assert batch.counts["rows"] == 7
        assert [row["prompt"][0]["content"] for row in batch.sets.to_pylist()] == ["a\nb", "d", "f"]
        assert sorted(
            (row["reason"], row["detail"].split(":")[0]) for row in batch.quarantine.to_pylist()
        ) == [
            ("empty_prompt", "rows.csv, row 3, field 'prompt.content'"),
            ("invalid_csv", "rows.csv, row 2"),
            ("invalid_csv", "rows.csv, row 5"),
            ("invalid_csv", "rows.csv, row 7"),
        ]


def test_numbers_in_prompts_are_texts(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('prompt,completions\n42,"[""1"", ""2""]"\n7,no list\n', encoding="utf-8")
    batch = read(path)
    assert [said(prompt) for prompt in batch.sets["prompt"].to_pylist()] == [
        [{"role": "user", "content": "42"}]
    ]
    assert batch.quarantine["reason"].to_pylist() == ["invalid_json"]


def test_a_quote_that_is_never_closed_is_an_error_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    for text in ('prompt,note\na,b\n"c,d\n', 'prompt,note\na,b\nc,"d\ne,f\n'):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=r"rows\.csv, row 2: opens a quote that is never closed"):
            read(path)


ROWS = [
    {"prompt": "What, then; is | a tab?", "chosen": "a;b;c", "rejected": "x, y | z"},
    {"prompt": "q", "chosen": "d", "rejected": "e"},
]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_the_delimiter_and_the_encoding_are_found(tmp_path: Path, delimiter: str, encoding: str) -> None:
    path = tmp_path / "rows.csv"
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, list(ROWS[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(ROWS)
    assert cells(path) == ROWS


def test_a_delimiter_in_texts_cuts_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("prompt,chosen\na;b;c,d;e\nf|g;h,i;j\n", encoding="utf-8")
    assert cells(path) == [{"prompt": "a;b;c", "chosen": "d;e"}, {"prompt": "f|g;h", "chosen": "i;j"}]
    path.write_text("prompt, if any;chosen\na;b\nc, d;e\n", encoding="utf-8")
    assert cells(path) == [{"prompt, if any": "a", "chosen": "b"}, {"prompt, if any": "c, d", "chosen": "e"}]
    path.write_text("the prompt; as asked\nWhat is it?\nAnd why\n", encoding="utf-8")
    assert cells(path) == [{"the prompt; as asked": "What is it?"}, {"the prompt; as asked": "And why"}]


def test_one_column_stays_one_column(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('prompt\nHello; you|there\tand\n"with, comma"\nb\n', encoding="utf-8")
    assert [row["prompt"] for row in cells(path)] == ["Hello; you|there\tand", "with, comma", "b"]


def test_a_long_cell_does_not_hide_the_delimiter(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    for size in (200_000, 3_000_000):  # beyond the limit of Python's module, and beyond the sample
        path.write_text(f"prompt;chosen\na;{'x' * size}\nb;c\n", encoding="utf-8")
        assert [(row["prompt"], len(row["chosen"])) for row in cells(path)] == [("a", size), ("b", 1)]


def test_columns_without_a_name_get_one(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    pandas.DataFrame(ROWS).to_csv(path)
    assert cells(path) == [{"index": str(place), **row} for place, row in enumerate(ROWS)]
    batch = read(path)
    assert (batch.sets.num_rows, batch.sets["metadata"].to_pylist()) == (
        2,
        ['{"index":"0"}', '{"index":"1"}'],
    )
    path.write_text(" prompt;chosen ;;\na;b;;\nc;d;;e\n", encoding="utf-8")
    rows = [
        {"prompt": "a", "chosen": "b", "column 3": None, "column 4": None},
        {"prompt": "c", "chosen": "d"},
    ]
    assert cells(path) == [rows[0], rows[1] | {"column 3": None, "column 4": "e"}]


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_the_line_in_which_excel_names_the_delimiter_is_no_row(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(f"{mark}sep=;\r\nprompt;completion\r\na;b\r\nc\r\nd;e\r\n".encode())
    batch = read(path)
    assert [row["prompt"][0]["content"] for row in batch.sets.to_pylist()] == ["a", "d"]
    assert batch.quarantine["detail"].to_pylist() == ["rows.csv, row 2: has 1 cells, the header has 2"]


def cells(path: Path) -> list[dict[str, str]]:
    return [
        row for block in blocks(path, 100) for part in block.load().tables for row in part.table.to_pylist()
    ]


@pytest.mark.parametrize(
    "content",
    [
        b"prompt,chosen,rejec\xf8ted\na,b,c\nd,e,f\n",
        b"prompt,chosen,rejected\na,b,c\nd,\xf8e,f,g\nh,i,j\n",
        b"prompt,chosen,rejected\na,\xf8b,c\nd,e,f\n",
    ],
    ids=["the name of a column", "a row of too many cells", "a cell"],
)
def test_another_encoding_is_one_message_and_no_traceback(content: bytes, tmp_path: Path) -> None:
    """pyarrow cannot give a bad row that is not UTF-8 to a handler, and Python would print why."""
    path = tmp_path / "rows.csv"
    path.write_bytes(content)
    told: list[object] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "unraisablehook", told.append)
        with pytest.raises(InputError, match="iconv -f WINDOWS-1252"):
            list(blocks(path, 10))
    assert not told
