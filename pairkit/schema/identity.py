"""The ids of prompts and sets: hashes of what they hold, so that they are the same in every build."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import pyarrow as pa

from pairkit.schema.columns import to_sets, with_all_columns
from pairkit.schema.occurrences import Occurrences

# Made once: `json.dumps` makes one for every call that is not in its default form.
_CANONICAL = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def canonical_json(value: Any) -> str:
    """Write a value as JSON with sorted keys, no spaces and no escaped characters: one text per value."""
    return _CANONICAL.encode(value)


def short_hash(value: Any) -> str:
    """Return the first 16 hex digits of the sha256 over `value`'s canonical JSON in UTF-8."""
    return _short_hash(canonical_json(value))


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def prompt_ids(prompts: pa.Array | pa.ChunkedArray, tools: pa.Array | pa.ChunkedArray) -> list[str]:
    """Return the id of each prompt (messages, and the tools that it offers).

    It decides splits and finds duplicates. `tools` has one JSON list or null per prompt.
    """
    pairs = zip(prompts.to_pylist(), tools.to_pylist(), strict=True)
    return [_short_hash(_prompt_text(*pair)) for pair in pairs]


def _prompt_text(prompt: Sequence[Mapping[str, Any]], tools: str | None) -> str:
    """Return the text that is hashed: the messages alone, as in version 1, unless there are tools."""
    # Values and not their texts, because the order of keys or a space makes no other prompt.
    messages = [
        message | {"tool_calls": _parsed(message["tool_calls"])} if "tool_calls" in message else message
        for message in plain_messages(prompt)
    ]
    return canonical_json({"messages": messages, "tools": _parsed(tools)} if tools else messages)


@lru_cache(maxsize=256)  # a dataset has few lists of tools, and each of them many times
def _parsed(text: str) -> Any:
    return json.loads(text)


def plain_messages(prompt: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return messages without their null fields: the form that is hashed, equal to that of version 1."""
    return [{name: value for name, value in message.items() if value is not None} for message in prompt]


def identify(table: pa.Table, seen: dict[str, int] | Occurrences) -> pa.Table:
    """Give the rows of an `UNIDENTIFIED` table their `prompt_id` and `set_id`.

    `seen` counts how often each prompt of the source occurred before this table, and is updated: the
    occurrence number makes repeated prompts sets of their own. This is a loop because hashing has no
    columnar kernel.
    """
    table = with_all_columns(table)
    prompts = zip(table["prompt"].to_pylist(), table["tools"].to_pylist(), strict=True)
    sources = table["source"].to_pylist()
    written = {source: canonical_json(source) for source in set(sources)}  # a few names, of all rows
    texts = [_prompt_text(*each) for each in prompts]
    by_prompt = list(map(_short_hash, texts))
    occurrences = seen.add(by_prompt) if isinstance(seen, Occurrences) else _counted(by_prompt, seen)
    # Equals canonical_json([source, prompt, occurrence]) but does not serialize a long prompt twice.
    by_set = [
        _short_hash(f"[{written[source]},{text},{occurrence}]")
        for source, text, occurrence in zip(sources, texts, occurrences, strict=True)
    ]
    table = table.append_column("prompt_id", pa.array(by_prompt, pa.string()))
    return to_sets(table.append_column("set_id", pa.array(by_set, pa.string())))


def _counted(prompt_ids: Sequence[str], seen: dict[str, int]) -> list[int]:
    numbers = []
    for prompt_id in prompt_ids:
        numbers.append(seen.get(prompt_id, 0))
        seen[prompt_id] = numbers[-1] + 1
    return numbers
