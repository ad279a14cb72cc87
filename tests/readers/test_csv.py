"""CSV files."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.candidates import said
from support.row_files import read

from pairkit.errors import InputError


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
