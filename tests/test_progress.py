"""Messages go to standard error in one style, and progress needs no terminal."""

from __future__ import annotations

import os
import re
import subprocess

import pytest
from rich.console import Console

from pairkit import progress as module
from pairkit.progress import log, progress, shell_quoted, shown, visible, warn


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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, \u00e4 \u65e5\u672c \U0001f600", "plain text, \u00e4 \u65e5\u672c \U0001f600"),
        ("\x1b[31mred\n\t\r", "\\x1b[31mred\\n\\t\\r"),
        ("\u202eback\u200b\x9b", "\\u202eback\\u200b\\x9b"),
        ("half \ud800", "half \\ud800"),
    ],
)
def test_a_text_of_others_cannot_write_to_the_terminal(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_a_long_text_is_cut_and_its_length_told() -> None:
    assert visible("x" * 1001, 10) == "x" * 10 + "\u2026 (1,001 characters)"
    assert visible("x" * 10, 10) == "x" * 10


@pytest.mark.parametrize(
    "name",
    ["a b", "a'b", "a\nb", "a\tb", "a\x1b[31mb", "a\u202eb", "a'\x07\\b", "é\u200b", "\udcff", "$x`y`\x01"],
)
def test_a_quoted_word_is_what_a_shell_reads(name: str) -> None:
    quoted = shell_quoted(name)
    assert shown(quoted) == quoted
    assert "\n" not in quoted
    read = subprocess.run(["bash", "-c", f"printf %s {quoted}"], capture_output=True, check=True).stdout
    assert read == os.fsencode(name)
