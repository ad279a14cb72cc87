"""Messages for a person: log lines, warnings, and one progress bar for everything that takes seconds.

There is one style. Messages go to standard error, because standard output is for a command's result; each is
one line that starts in lower case or with a path; a warning starts with "warning: ".
"""

from __future__ import annotations

import os
import shlex
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from pairkit.masking import masked

# Not wrapped, so that a line of a log file stays one line.
console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)


def visible(text: str, width: int | None = None) -> str:
    r"""Return a text of somebody else as one line that a terminal shows as it is, cut to `width` characters.

    Line breaks, control characters and marks that turn the direction of writing are escaped.

    >>> visible("red: \x1b[31m\nnext")
    'red: \\x1b[31m\\nnext'
    >>> visible("a long answer", 6)
    'a long… (13 characters)'
    """
    # Cut first, because a text may be megabytes; an escape counts as one character.
    cut = text if width is None or len(text) <= width else text[:width]
    line = "".join(
        mark if mark.isprintable() else mark.encode("unicode_escape").decode("ascii") for mark in cut
    )
    return line if len(cut) == len(text) else f"{line}… ({len(text):,} characters)"


def shell_quoted(word: str) -> str:
    r"""Return a word of a command that is printed for copying, as a shell reads it.

    Control characters and marks that turn text, which a terminal is not sent, are escapes that bash and zsh
    read (`$'...'`): shown as text they would name another file.

    >>> print(shell_quoted("two words"), shell_quoted("a\x1bb"))
    'two words' $'a\x1bb'
    """
    if shown(word) == word and "\n" not in word and "\t" not in word:
        return shlex.quote(word)
    # Bytes, because those are what a file's name is made of.
    parts = [_plain(byte) for byte in os.fsencode(word)]
    return f"$'{''.join(parts)}'"


def _plain(byte: int) -> str:
    return chr(byte) if 32 <= byte < 127 and byte not in b"'\\\\" else f"\\x{byte:02x}"


def shown(text: str) -> str:
    r"""Return a text of several lines as a terminal or a page shows it: what would change others is escaped.

    Control characters, such as those that begin escape sequences, and marks that are invisible or turn the
    direction of writing; those that join letters or emoji stay.

    >>> shown("a\x1b[31mb\u202ec\nd")
    'a\\x1b[31mb\\u202ec\nd'
    """
    # As a whole first: whatever is printable has none of the categories.
    if text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(_escaped(mark) if unicodedata.category(mark) in _UNSEEN else mark for mark in text)


_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_KEPT = frozenset("\n\t\u200c\u200d")


def _escaped(mark: str) -> str:
    return mark if mark in _KEPT else mark.encode("unicode_escape").decode("ascii")


def log(message: str) -> None:
    """Print one line to standard error, literally: brackets in a path are no markup."""
    console.print(shown(masked(message)))


def warn(message: str) -> None:
    """Log something a person should look at although the command continues."""
    log(f"warning: {message}")


@contextmanager
def silenced() -> Iterator[None]:
    """Print nothing for the block, where many short steps would each log several lines."""
    before, console.quiet = console.quiet, True
    try:
        yield
    finally:
        console.quiet = before


class Advance(Protocol):
    """A callback that reports `count` more units done, and a note to show after the bar."""

    def __call__(self, count: int = 1, /, note: str = "") -> None: ...


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        # The speed of the bar at its end, because the last moments say little.
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.1f} {task.fields['unit']}/s", style="cyan")


@contextmanager
def progress(description: str, total: int | None, *, unit: str, done: int = 0) -> Iterator[Advance]:
    """Show a bar for `total` units (None if unknown), `done` of which are already complete.

    On a terminal the bar moves; elsewhere one line is logged when the work ends, so that logs stay readable.
    """
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        # As text, because a note may contain brackets.
        TextColumn("{task.fields[note]}", markup=False),
    )
    # No bar in a file, where each update would be a line.
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(visible(masked(description)), total=total, completed=done, unit=unit, note="")

        def advance(count: int = 1, /, note: str = "") -> None:
            bar.update(task, advance=count)
            if note:
                # An empty note leaves the last one, so that it does not flicker.
                bar.update(task, note=visible(masked(note)))

        yield advance
        if not console.is_terminal:
            state = bar.tasks[task]
            seconds = state.elapsed or 0.0
            log(f"{description}: {state.completed:,.0f} {unit} in {seconds:,.1f} s")
