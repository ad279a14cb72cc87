"""Reading the metrics of a run. Imports no torch, because reports do so too."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pairkit.files import undamaged, with_whole_characters
from pairkit.training.output.layout import METRICS


def read_metrics(out: Path, kind: str) -> list[dict[str, Any]]:
    """Read the entries of one kind of a run, in the order of their steps."""
    return [entry for entry in read_entries(out / METRICS) if entry["kind"] == kind]


def read_entries(
    path: Path, advice: str = "remove it to continue without what it holds, or use --on-existing delete"
) -> list[dict[str, Any]]:
    """Read all entries of a file of metrics; none if it does not exist.

    Raises `InputError` for a damaged file, with the `advice` on what to do about it.
    """
    with undamaged(path, advice):
        lines = _lines(path)
        # At once, because then the names of the numbers are in memory once, and not once per line.
        try:
            together = f"[{','.join(lines)}]"
            entries: list[dict[str, Any]] = with_whole_characters(json.loads(together), together)
        except ValueError as error:
            raise ValueError(_first_damaged(lines)) from error
        if len(entries) != len(lines):
            raise ValueError(_first_damaged(lines))
        for number, entry in enumerate(entries, 1):
            if not (
                isinstance(entry, dict)
                and isinstance(entry.get("step"), int)
                and isinstance(entry.get("kind"), str)
            ):
                raise ValueError(f"line {number:,} has no step or no kind")
        return entries


def _first_damaged(lines: Sequence[str]) -> str:
    """Return the number of the first line that is not one JSON value, and what is wrong with it."""
    for number, line in enumerate(lines, 1):
        try:
            with_whole_characters(json.loads(line), line)
        except ValueError as error:
            return f"line {number:,}: {error}"
    raise AssertionError("lines that are JSON each are JSON together")


def _lines(path: Path) -> list[str]:
    """Read whole lines, because a run that was killed, or whose disk was full, may have left half of one."""
    return path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
