"""Tables of numbers: as wide as they are in a file, and no number cut on a terminal."""

from __future__ import annotations

import pytest
from rich.table import Table

from pairkit.cli.tables import print_table

NAMES = ["prompt_level_strict", "a name with spaces that is longer than the others " * 2]


def table() -> Table:
    made = Table(title="a model with a long name: " + "x" * 90, title_justify="left")
    for name in ("", "value [95 %]", "SE", "prompts"):
        made.add_column(name, justify="left" if not name else "right", no_wrap=bool(name))
    for name in NAMES:
        made.add_row(name, "100.00 [-1234.56, 1234.56] %", "12.34", "1,319")
    return made


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    print_table(table())
    return capsys.readouterr().out


def test_a_file_gets_all_of_a_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = printed(capsys)
    assert "…" not in out
    assert out.splitlines()[0].rstrip() == "a model with a long name: " + "x" * 90
    for name in NAMES:
        (line,) = [line for line in out.splitlines() if name.strip() in line]
        assert "100.00 [-1234.56, 1234.56] %" in line
        assert "12.34" in line
        assert "1,319" in line


@pytest.mark.parametrize("columns", ["80", "20"])
def test_a_terminal_folds_names_and_cuts_no_number(
    columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    out = printed(capsys)
    assert "…" not in out
    assert out.count("100.00 [-1234.56, 1234.56] %") == 2
    assert out.count("12.34") == out.count("1,319") == 2
    assert "prompt_level_strict" in out
