"""The check of candidate sets that were read from a file: what a schema cannot express."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pairkit.errors import InputError
from pairkit.json_depth import is_deep_text
from pairkit.schema.columns import COMPLETION, MESSAGE, ORIGINS, PROMPT_ENDS, ROLES, to_sets

NO_LIST, NO_OBJECT = "is not a JSON list of objects", "is not a JSON object"
NO_CALLS = "is not a JSON list of calls of functions"


def check_sets(table: pa.Table, *, file: object = None) -> pa.Table:
    """Check what a schema cannot express, on a table read from `file`, and return it cast to `SETS`.

    Raises `InputError` with file, row and field for: a set without an id or a prompt, a prompt that does
    not end in a user or tool turn, an unknown role, a null text, an unknown origin, a rank below 1, a score
    that is not finite, names of scores that are not unique and sorted, tools, tool calls or arguments of the
    template that are not JSON of their kind, and tool calls or thoughts of another role than the assistant.
    """
    table = to_sets(table, file=file).combine_chunks()
    for name in ("set_id", "prompt_id", "source", "prompt", "completions"):
        _refuse(pc.is_null(table[name]), "is null", file, name)
    _check_prompts(table["prompt"], file)
    _refuse(_not_json(table["tools"], _is_objects), NO_LIST, file, "tools")
    kwargs = table["chat_template_kwargs"]
    _refuse(_not_json(kwargs, lambda value: isinstance(value, dict)), NO_OBJECT, file, "chat_template_kwargs")
    _check_completions(table, file)
    return table


def _check_prompts(prompts: pa.ChunkedArray, file: object) -> None:
    messages, parents = _flatten(prompts), pc.list_parent_indices(prompts)
    _refuse(pc.equal(pc.list_value_length(prompts), 0), "has no message", file, "prompt")
    values = {name: pc.struct_field(messages, name) for name in (field.name for field in MESSAGE)}

    def refuse(mask: pa.Array, problem: str) -> None:
        _refuse(mask, problem, file, "prompt", parents)

    allowed = pc.is_in(values["role"], pa.array(ROLES))
    refuse(pc.invert(allowed), f"has a role that is none of {', '.join(ROLES)}")
    ends = pc.is_in(_last_roles(prompts), pa.array(PROMPT_ENDS))
    _refuse(pc.invert(ends), "does not end in a user or tool turn", file, "prompt")
    refuse(pc.is_null(values["content"]), "has a null content")
    others = pc.not_equal(values["role"], "assistant")
    for name in ("tool_calls", "reasoning_content"):
        refuse(pc.and_(pc.is_valid(values[name]), others), f"has {name} that are not the assistant's")
    refuse(_not_json(values["tool_calls"], _is_calls), f"has tool_calls: {NO_CALLS}")


def _is_calls(value: Any) -> bool:
    return _is_objects(value) and all(isinstance(call.get("function"), dict) for call in value)


def _is_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _not_json(column: pa.Array | pa.ChunkedArray, right: Callable[[Any], bool]) -> pa.Array:
    """Mark the texts that are not JSON of the right kind; nulls are not marked.

    A loop, because JSON has no columnar kernel, over the distinct texts: tools repeat.
    """
    flat = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if flat.null_count == len(flat):
        return pa.repeat(False, len(flat))
    encoded = flat.dictionary_encode()
    wrong = pa.array([not _reads(text, right) for text in encoded.dictionary.to_pylist()], pa.bool_())
    return pc.fill_null(wrong.take(encoded.indices), False)


def _reads(text: str, right: Callable[[Any], bool]) -> bool:
    if is_deep_text(text):
        return False
    try:
        return right(json.loads(text))
    except ValueError:
        return False


def _check_completions(table: pa.Table, file: object) -> None:
    completions, parents = _flatten(table["completions"]), pc.list_parent_indices(table["completions"])

    def refuse(mask: pa.Array, problem: str, name: str) -> None:
        _refuse(mask, problem, file, f"completions.{name}", parents)

    values = {name: pc.struct_field(completions, name) for name in COMPLETION.names}
    refuse(pc.is_null(values["text"]), "is null", "text")
    refuse(
        pc.invert(pc.is_in(values["origin"], pa.array(ORIGINS))), f"is none of {', '.join(ORIGINS)}", "origin"
    )
    refuse(pc.less(values["rank"], 1), "is below 1", "rank")
    refuse(pc.invert(pc.is_finite(values["score"])), "is not a finite number", "score")
    refuse(_not_json(values["tool_calls"], _is_calls), NO_CALLS, "tool_calls")
    scores = values["scores"]
    owners = pc.take(parents, pc.list_parent_indices(scores))
    names = pc.struct_field(_flatten(scores), "name")
    index = pc.list_parent_indices(scores)
    _refuse(pc.is_null(names), "has a null name", file, "completions.scores", owners)
    if len(names) > 1:
        same_owner = pc.equal(index[1:], index[:-1])
        unsorted = pc.and_(same_owner, pc.less_equal(names[1:], names[:-1]))
        _refuse(unsorted, "has names that are not unique and sorted", file, "completions.scores", owners[1:])


def _flatten(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    flat = pc.list_flatten(column)
    return flat.combine_chunks() if isinstance(flat, pa.ChunkedArray) else flat


def _last_roles(prompts: pa.ChunkedArray) -> pa.Array:
    """Return the role of each prompt's last message; no prompt may be null or empty."""
    roles = [
        pc.struct_field(chunk.values, "role").take(pc.subtract(chunk.offsets[1:], 1))
        for chunk in prompts.chunks
    ]
    return pa.chunked_array(roles, pa.string())


def _refuse(
    mask: pa.Array | pa.ChunkedArray,
    problem: str,
    file: object,
    field: str,
    parents: pa.Array | None = None,
) -> None:
    bad = pc.indices_nonzero(pc.fill_null(mask, False))
    if len(bad):
        first = bad[0].as_py()
        row = parents[first].as_py() if parents is not None else first
        raise InputError.at(problem, file=file, row=row + 1, field=field)
