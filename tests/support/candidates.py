"""Candidate sets for tests, written as briefly as they can be."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from pairkit.schema import UNIDENTIFIED, identify


def completion(text: str, score: float | None = None, **fields: Any) -> dict[str, Any]:
    """A completion of a source; `fields` replaces any other field."""
    nothing = {"rank": None, "sampling": None, "finish_reason": None, "metadata": None}
    return {"text": text, "model": "m", "score": score, "scores": [], "origin": "source", **nothing, **fields}


def noise(text: str) -> dict[str, Any]:
    return completion(text, model="noise:word_swap", origin="noise")


def candidate_set(*completions: dict[str, Any], prompt: Any = "Why?", **fields: Any) -> dict[str, Any]:
    """A set; `prompt` is a user turn or a list of (role, content)."""
    turns = [("user", prompt)] if isinstance(prompt, str) else prompt
    messages = [{"role": role, "content": content} for role, content in turns]
    return {
        "source": "test",
        "prompt": messages,
        "completions": list(completions),
        "metadata": "{}",
        **fields,
    }


def table(*sets: dict[str, Any]) -> pa.Table:
    """The sets with their identity, as a table of `SETS`."""
    return identify(pa.Table.from_pylist(list(sets), schema=UNIDENTIFIED), {})


def texts(sets: pa.Table) -> list[list[str]]:
    """The texts of each set's completions."""
    return [[one["text"] for one in row] for row in sets["completions"].to_pylist()]


def column(sets: pa.Table, name: str) -> list[list[Any]]:
    """A field of each set's completions."""
    return [[one[name] for one in row] for row in sets["completions"].to_pylist()]
