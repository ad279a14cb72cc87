"""What a build has sent to servers where that is not what its recipe states: a block of the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pairkit.engines.base import Sampling


def sent_fields(block: Mapping[str, Any], counts: Mapping[str, int]) -> dict[str, Any]:
    """Return the fields of requests that differ from those of a block of a published recipe; {} if none does.

    These are the block's `extra_body`, and what the server was found to take: null for a field that was not
    sent. `counts` are those of the block's stage, with the remarks on its completions.
    """
    fields = dict(block.get("extra_body") or {})
    for name in Sampling._fields:
        if counts.get(f"sent_without_{name}"):
            fields[name] = None
    if counts.get("sent_max_completion_tokens"):
        fields = {"max_tokens": None, "max_completion_tokens": block["max_tokens"], **fields}
    return fields


def sent_by_build(recipe: Mapping[str, Any], counts: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """Return `sent_fields` of generation and of each judge, by name, of those where something differs."""
    by_block = {}
    generated = counts.get("generate", {})
    for block in (recipe["generate"] or {}).get("models", ()):
        name = block["name"] or block["model"]
        # The counts of several models are in one mapping, each with its name after it.
        own = {
            count.removesuffix(f":{name}"): n for count, n in generated.items() if count.endswith(f":{name}")
        }
        by_block[f"generate.{name}"] = sent_fields(block, own)
    if recipe["generate"] is not None and "models" not in recipe["generate"]:
        by_block["generate"] = sent_fields(recipe["generate"], generated)
    blocks = recipe["rank"] if isinstance(recipe["rank"], list) else [recipe["rank"]]
    for block in blocks:
        name = block.get("name") or block["ranker"]
        # The counts of several rankers are in one mapping, each with its name before it.
        of_block = {
            count.removeprefix(f"{name}_"): number
            for count, number in counts.get("rank", {}).items()
            if count.startswith(f"{name}_")
        }
        by_block[f"rank.{name}"] = sent_fields(block, of_block)
    return {name: fields for name, fields in by_block.items() if fields}
