"""Tables of numbers: as wide as they are in a file, and no number cut on a terminal."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from rich.table import Table

from pairkit.cli.sweep import _print
from pairkit.cli.tables import print_table
from pairkit.progress import shown
from pairkit.sweep.grid import Point
from pairkit.sweep.results import Run


def clean(text: str) -> bool:
    """Whether a terminal shows all of a text."""
    return all(mark.isprintable() or mark == "\n" for mark in text)


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


ATTACKS = ["\x1b[31mred\x1b]0;own\x07", "\u202eevil", "\x9b31m", "a\rb", "[bold]x[/]", ":bomb:", "=1+1"]


@pytest.mark.parametrize("color", ["", "1"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_no_text_of_a_table_controls_a_terminal(
    attack: str, color: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    if color:
        monkeypatch.setenv("FORCE_COLOR", color)
        monkeypatch.setenv("TERM", "xterm")
    made = Table(title=f"title {attack}")
    made.add_column(f"header {attack}")
    made.add_column("loss", no_wrap=True)
    made.add_row(f"cell {attack}", "0.5")
    print_table(made)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out.replace(attack, "UNSEEN"))
    assert clean(plain)
    for place in ("title", "header", "cell"):
        assert f"{place} {shown(attack)}".replace(attack, "UNSEEN") in plain


def test_a_sweep_shows_values_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    for attack in ATTACKS:
        _print([Run(Point({"loss.name": attack}, {}), Path(), 0.5)], "loss")
        out = capsys.readouterr().out
        assert clean(out)
        assert shown(attack) in out


def test_a_table_holds_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    key = "sk-proj-" + "Ab3dE6gH" * 5
    made = Table()
    made.add_column("model")
    made.add_row(f"https://user:{key}@host/model")
    print_table(made)
    assert key not in capsys.readouterr().out
