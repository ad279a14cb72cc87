"""Rows written to a file and read as `files` reads them, for tests of layouts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pairkit.schema import check_sets, identify
from pairkit.sources import SourceRecipe, open_source


class Found(NamedTuple):
    """What a file was read as: the layout, its sets, and the reason and detail of each quarantined row."""

    layout: str
    sets: list[dict[str, Any]]
    refused: list[tuple[str, str]]

    def brief(self, *fields: str) -> list[list[Any]]:
        """Return the completions of each set, with these fields or text, rank and score."""
        names = fields or ("text", "rank", "score")
        return [[tuple(each[name] for name in names) for each in row["completions"]] for row in self.sets]

    def prompts(self) -> list[list[tuple[str, str]]]:
        """Return the role and content of each set's messages."""
        return [[(each["role"], each["content"]) for each in row["prompt"]] for row in self.sets]


def read_path(path: Path, *, block: int = 1000, layout: str | None = None, **mapped: Any) -> Found:
    """Return what a file is read as; `block` is the rows that are read at once."""
    opened = open_source(SourceRecipe(name="files", path=str(path), layout=layout, map=mapped))
    (reading,) = opened.readings.values()
    sets: list[dict[str, Any]] = []
    refused: list[tuple[str, str]] = []
    for batch in opened.batches(rows=block):
        check_sets(identify(batch.sets, {}))
        sets += batch.sets.to_pylist()
        refused += [(row["reason"], row["detail"]) for row in batch.quarantine.to_pylist()]
    return Found(reading.layout, sets, refused)


def read_rows(folder: Path, rows: Sequence[dict[str, Any]], **options: Any) -> Found:
    """Write rows as JSON lines and return what they are read as."""
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return read_path(path, **options)
