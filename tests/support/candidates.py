"""Candidate sets for tests, written briefly."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from pairkit.schema import COMPLETION_SINCE_2, UNIDENTIFIED, identify


def completion(text: str, score: float | None = None, **fields: Any) -> dict[str, Any]:
    """Return a completion of a source; `fields` replaces other fields."""
    optional = ("rank", "sampling", "finish_reason", "metadata", *COMPLETION_SINCE_2)
    absent = dict.fromkeys(optional)
    return {"text": text, "model": "m", "score": score, "scores": [], "origin": "source", **absent, **fields}


def noise(text: str) -> dict[str, Any]:
    return completion(text, model="noise:word_swap", origin="noise")


def candidate_set(*completions: dict[str, Any], prompt: Any = "Why?", **fields: Any) -> dict[str, Any]:
    """Return a set; `prompt` is a user turn or a list of (role, content) and of whole messages."""
    turns = [("user", prompt)] if isinstance(prompt, str) else prompt
    messages = [turn if isinstance(turn, dict) else {"role": turn[0], "content": turn[1]} for turn in turns]
    return {
        "source": "test",
        "prompt": messages,
        "completions": list(completions),
        "metadata": "{}",
        **fields,
    }


def table(*sets: dict[str, Any]) -> pa.Table:
    """Identify the sets and return them as a table of `SETS`."""
    return identify(pa.Table.from_pylist(list(sets), schema=UNIDENTIFIED), {})


def said(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return messages as they were written: without the fields that they do not have."""
    return [{name: value for name, value in each.items() if value is not None} for each in messages]


def quarantined(sets: pa.Table, place: int = 0) -> dict[str, Any]:
    """Return a plain set as it is in quarantine: with the columns and fields of version 1 alone."""
    row = sets.to_pylist()[place]
    columns = ("set_id", "prompt_id", "source", "metadata")
    fields = ("text", "model", "rank", "score", "scores", "sampling", "finish_reason", "origin", "metadata")
    return {
        **{name: row[name] for name in columns},
        "prompt": [{name: each[name] for name in ("role", "content")} for each in row["prompt"]],
        "completions": [{name: each[name] for name in fields} for each in row["completions"]],
    }


def texts(sets: pa.Table) -> list[list[str]]:
    """Return the texts of each set's completions."""
    return [[completion["text"] for completion in row] for row in sets["completions"].to_pylist()]


def column(sets: pa.Table, name: str) -> list[list[Any]]:
    """Return a field of each set's completions."""
    return [[completion[name] for completion in row] for row in sets["completions"].to_pylist()]
