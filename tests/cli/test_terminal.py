"""Names and texts of others reach a terminal as text: no escape sequence, no markup, no command."""

from __future__ import annotations

import io
import json
import shlex
import unicodedata
from pathlib import Path

import pytest
from rich.console import Console
from support.bad_input.running import Run

from pairkit import progress
from pairkit.cli.printing import say
from pairkit.dataset.markdown import cell, fence
from pairkit.pipeline.describe import summary
from pairkit.progress import log, shown, visible
from pairkit.reports.html import text

ATTACKS = {
    "a color": "\x1b[31mred\x1b[0m",
    "a title": "\x1b]0;title\x07",
    "a link": "\x1b]8;;http://evil\x1b\\text\x1b]8;;\x1b\\",
    "clearing the screen": "\x1b[2J\x1b[H",
    "one character instead of two": "\x9b31m",
    "overwriting a line": "wrong\rright",
    "backspaces": "bad\b\b\bok",
    "a bell": "\x07",
    "a null": "a\x00b",
    "text turned around": "user\u202etxt.exe",
    "an isolate": "\u2066a\u2069",
    "a mark of direction": "\u200fa\u061c",
    "a line of Unicode": "a\u2028b\u2029c\x85d",
    "an invisible space": "a\u200bb\ufeffc\u2060d",
    "hidden letters": "a\U000e0041\U000e0042",
    "half of a pair": "\udcff",
}
MARKUP = ["[red]a[/red]", "[/]", "[link=http://evil]a[/link]", ":bomb:", "[bold", "\\[a]"]
SAFE = "naïve — “quoted” 日本語 עברית می\u200cخواهم 👨\u200d👩\u200d👧 ❤️ a\u00a0b"


def clean(printed: str) -> bool:
    return not any(
        unicodedata.category(mark) in ("Cc", "Cf", "Cs", "Zl", "Zp")
        for mark in printed
        if mark not in "\n\t\u200c\u200d"
    )


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_an_attack_is_shown_as_such(attack: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert clean(shown(attack))
    assert clean(visible(attack))
    log(attack)
    say(attack)
    say(attack, err=True)
    printed = capsys.readouterr()
    assert clean(printed.out + printed.err)
    assert printed.out == shown(attack) + "\n"
    assert clean(cell(attack))
    assert clean(fence(attack))
    assert clean(text(attack))


def test_what_is_shown() -> None:
    assert shown("\x1b[31m\u202e") == r"\x1b[31m\u202e"
    assert shown(SAFE) == SAFE
    assert shown("a\n\tb") == "a\n\tb"


@pytest.mark.parametrize("markup", MARKUP)
def test_markup_is_literal(
    markup: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log(markup)
    assert capsys.readouterr().err == f"{markup}\n"
    screen = io.StringIO()
    monkeypatch.setattr(
        progress,
        "console",
        Console(file=screen, force_terminal=True, width=200, color_system=None, markup=False, emoji=False),
    )
    with progress.progress(f"Reading {markup}", 2, unit="rows") as advance:
        advance(2, note=markup)
    assert f"Reading {markup}" in screen.getvalue()
    assert screen.getvalue().count(markup) >= 2


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_the_description_of_a_bar(attack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=screen, force_terminal=False, width=200))
    with progress.progress(f"Reading {attack}", 2, unit="rows") as advance:
        advance(2, note=attack)
    assert clean(screen.getvalue())


@pytest.mark.default("[red]b", "$(touch ran)", "a\\u202eb")
@pytest.mark.parametrize(
    "name", ["a\x1b[31mb", "a\u202eb", "[red]b", "a b; touch ran; 'c'", "$(touch ran)", ":bomb:"]
)
def test_hostile_names_of_files_and_folders(
    name: str, here: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    from pairkit.cli import main

    rows = [{"prompt": f"{n}?", "chosen": f"{name} {n}", "rejected": f"no {n}", name: n} for n in range(8)]
    (here / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            sys, "argv", ["pairkit", "build", "--source", "files", "--path", f"{name}.jsonl", "--out", name]
        )
        with pytest.raises(SystemExit) as stop:
            main()
    printed = capsys.readouterr()
    assert not stop.value.code, printed.err
    assert clean(printed.out + printed.err)
    assert clean((here / name / "README.md").read_text())
    if name.isprintable():
        command = printed.out.splitlines()[-1].removeprefix("next: ")
        assert shlex.split(command)[-2:] == ["--data", name]


def test_the_next_command_is_quoted() -> None:
    counts = {"sets": 1, "completions": 2, "pairs": 1}
    manifest = {"counts": {"train": counts, "mine": {}}, "recipe": {"rank": {"ranker": "annotations"}}}
    last = summary(manifest, Path("my data; rm -rf $HOME")).splitlines()[-1]
    assert shlex.split(last)[-1] == "my data; rm -rf $HOME"
