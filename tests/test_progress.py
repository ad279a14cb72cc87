"""Messages go to standard error in one style, and progress needs no terminal."""

from __future__ import annotations

import re

import pytest
from rich.console import Console

from pairkit import progress as module
from pairkit.progress import log, progress, warn


def test_messages_are_printed_literally_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    log("data/[a].jsonl: 3 rows [bold]")
    warn("the score is constant " + "x" * 200)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"data/[a].jsonl: 3 rows [bold]\nwarning: the score is constant {'x' * 200}\n"


def test_without_a_terminal_progress_is_one_line_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("scoring", 12, unit="sets", done=2) as advance:
        advance(4, note="half")
        advance(6)
        assert capsys.readouterr().err == ""
    assert re.fullmatch(r"scoring: 12 sets in [\d.]+ s\n", capsys.readouterr().err)


def test_on_a_terminal_the_bar_shows_count_rate_and_note(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(force_terminal=True, width=120, record=True)
    monkeypatch.setattr(module, "console", console)
    with progress("scoring", 12, unit="sets") as advance:
        advance(6, note="3 retries")
        advance(6)
    text = console.export_text()
    assert "12/12" in text
    assert "sets/s" in text
    assert "3 retries" in text
