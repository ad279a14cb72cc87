"""One progress bar for everything that takes more than a few seconds: count, rate, time left."""

from __future__ import annotations

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

# Everything that is not a command's result goes to standard error.
console = Console(stderr=True, highlight=False, soft_wrap=True)


class Advance(Protocol):
    """Reports `count` more units done, and what else to show behind the bar."""

    def __call__(self, count: int = 1, /, note: str = "") -> None: ...


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.1f} {task.fields['unit']}/s", style="cyan")


@contextmanager
def progress(description: str, total: int | None, *, unit: str, done: int = 0) -> Iterator[Advance]:
    """A bar for `total` units (None where the number is not known), `done` of which are done already.

    On a terminal it moves; elsewhere one line is printed when the work ends, so that logs stay readable.
    """
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(description, total=total, completed=done, unit=unit, note="")

        def advance(count: int = 1, /, note: str = "") -> None:
            bar.update(task, advance=count)
            if note:
                bar.update(task, note=note)

        yield advance
        if not console.is_terminal:
            state = bar.tasks[task]
            seconds = state.elapsed or 0.0
            console.print(f"{description}: {state.completed:,.0f} {unit} in {seconds:,.1f} s", markup=False)
