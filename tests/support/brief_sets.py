"""Rows read through the source `files`, in the few fields that a test of reading looks at."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from support.row_files import read, write_lines

from pairkit.schema import check_sets, identify


class Brief(NamedTuple):
    """Prompts as (role, content), the texts of completions, and reason and detail of what was refused."""

    prompts: list[list[tuple[str, str]]]
    texts: list[list[str]]
    sets: list[dict[str, Any]]
    refused: list[tuple[str, str]]


def brief(path: Path, **options: Any) -> Brief:
    """Read a file, and check that every row is a set or refused."""
    batch = read(path, **options)
    assert batch.counts["rows"] == batch.sets.num_rows + batch.quarantine.num_rows
    check_sets(identify(batch.sets, {}))
    sets = batch.sets.to_pylist()
    return Brief(
        [[(each["role"], each["content"]) for each in row["prompt"]] for row in sets],
        [[each["text"] for each in row["completions"]] for row in sets],
        sets,
        [(row["reason"], row["detail"].partition("field ")[2]) for row in batch.quarantine.to_pylist()],
    )


def brief_rows(folder: Path, *rows: dict[str, Any], **options: Any) -> Brief:
    """Read rows from a file of JSON lines."""
    path = folder / "rows.jsonl"
    write_lines(path, list(rows))
    return brief(path, **options)
