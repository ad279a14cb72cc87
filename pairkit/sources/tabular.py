"""Rows of any file or hub dataset as candidate sets: the sources `files` and `hub`.

The layout (reading/fields.py) assigns columns to fields; here each shape of row becomes prompts and
completions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import filter_lists, flatten, interleave, is_list, is_text, listed, prepend, present
from pairkit.readers.json_text import json_objects
from pairkit.schema import COMPLETION
from pairkit.sources.base import Draft, Opened, Source, SourceRecipe
from pairkit.sources.reading import json_columns
from pairkit.sources.reading.columns import Columns, completions
from pairkit.sources.reading.fields import Layout, check_map, gather, layout
from pairkit.sources.reading.media import report_media
from pairkit.sources.reading.messages import Conversation, cut_last, read_messages, with_system
from pairkit.sources.reading.pairs import pair, read_reply, shared_prompt
from pairkit.sources.reading.stream import open_files
from pairkit.sources.reading.turns import CALL_FIELDS, THOUGHT_FIELDS, read_calls, read_content, read_thoughts

# Names under which structs of completions hold the reply, and its model.
TEXTS = ("text", "content", "response", "output", "answer", "completion", "value")
MODELS = ("model", "generator")
# Of sets that pairkit wrote.
OWN_FIELDS = ("scores", "sampling", "finish_reason", "origin", "metadata", "token_ids", "tokenizer")
IDENTITY = ("set_id", "prompt_id", "source")


def open_mapped(source: Source, recipe: SourceRecipe) -> Opened:
    """Open files as `open_files` does, after checking the recipe's `map`."""
    if recipe.map:
        check_map(recipe.map)
    return open_files(source, recipe)


def convert(table: pa.Table, recipe: SourceRecipe) -> Draft:
    """Convert rows to sets, by the recipe's `map` or by the names of the columns."""
    columns = Columns.of(table)
    rows = layout(columns.arrays, recipe.map)
    if rows is None:
        detail = "no column is a prompt, messages, completions, or chosen and rejected"
        columns.report(np.ones(columns.size, dtype=np.bool_), "missing_prompt", detail, None)
        return Draft(
            read_messages(columns, ""),
            _no_completions(columns),
            json_objects({}, columns.size),
            columns.problems,
        )
    fields = rows.fields
    columns = gather(columns, fields)
    prompt, sets = SHAPES[rows.shape](columns, fields)
    if "system" in fields:
        prompt = with_system(prompt, columns.text(fields["system"]))
    kwargs = json_columns.read_json(columns, fields.get("chat_template_kwargs", ""), json_columns.arguments)
    # None and not a column of nulls, so that tools in a column that `map` does not name are found.
    tools = (
        json_columns.read_json(columns, fields["tools"], json_columns.tools) if "tools" in fields else None
    )
    return Draft(
        prompt,
        sets,
        _metadata(columns, rows),
        columns.problems,
        tools=tools,
        chat_template_kwargs=kwargs,
    )


def _pairs(columns: Columns, fields: Mapping[str, str]) -> tuple[pa.Array, pa.Array]:
    name = fields.get("prompt") or fields.get("messages")
    # Without a prompt column, the prompt is what the two dialogues share.
    column = read_messages(columns, name) if name else None
    if column is not None and _is_texts(columns, fields["rejected"]):
        return column, _one_against_many(columns, fields)
    chosen, rejected = (
        read_reply(columns, fields[side], whole=column is None) for side in ("chosen", "rejected")
    )
    prompt = shared_prompt(columns, column, chosen, rejected, fields["rejected"])
    first, second = (
        columns.number(fields[score]) if score in fields else pa.nulls(columns.size, pa.float64())
        for score in ("score_chosen", "score_rejected")
    )
    return prompt, pair(chosen, rejected, (first, second))


def _is_texts(columns: Columns, name: str) -> bool:
    values = columns.arrays.get(name)
    return values is not None and is_list(values.type) and is_text(values.type.value_type)


def _one_against_many(columns: Columns, fields: Mapping[str, str]) -> pa.Array:
    """Build sets of one chosen reply, rank 1, and a list of rejected ones, all rank 2."""
    chosen = completions(columns.text(fields["chosen"]), rank=1)
    # One offset per row and one more; `flat` has one entry per rejected reply.
    offsets, flat = flatten(columns.arrays[fields["rejected"]])
    rejected = listed(offsets, completions(flat.cast(pa.string()), rank=2))
    return prepend(rejected, chosen, np.ones(columns.size, dtype=np.bool_))


def _sets(columns: Columns, fields: Mapping[str, str]) -> tuple[pa.Array, pa.Array]:
    name = fields["completions"]
    values = columns.arrays.get(name)
    prompt = read_messages(columns, fields.get("prompt") or fields.get("messages") or "prompt")
    if values is not None and pa.types.is_struct(values.type):
        return prompt, _by_model(columns.struct(name))
    if not _is_texts(columns, name):
        offsets, items = columns.items(name, of="texts or objects")
        return prompt, listed(offsets, _structs(items))
    assert values is not None
    offsets, flat = flatten(values)
    aligned = {
        "score": _aligned(columns, fields.get("scores"), offsets, "number"),
        "rank": _aligned(columns, fields.get("ranks"), offsets, "rank"),
        "model": _aligned(columns, fields.get("models"), offsets, "text"),
    }
    return prompt, listed(offsets, completions(flat.cast(pa.string()), **aligned))


def _by_model(fields: Columns) -> pa.Array:
    """Read a struct of texts: one completion per field, by the model that the field is named after."""
    names = list(fields.arrays)
    sets = interleave([completions(fields.text(name), model=name) for name in names])
    answered = present(flatten(sets)[1].field("text"))  # a null is a model that did not answer
    return filter_lists(sets, answered)


def _structs(items: Columns) -> pa.Array:
    """Read structs with a text and any of pairkit's own fields; the other fields become metadata."""
    report_media(items)
    text, model = _first_of(items, TEXTS), _first_of(items, MODELS)
    own = {name: array for name in OWN_FIELDS if (array := _own(items, name)) is not None}
    # The one name only: `reasoning` next to a text may be that of a judge.
    own |= {"tool_calls": read_calls(items), "reasoning_content": read_thoughts(items, THOUGHT_FIELDS[:1])}
    if "metadata" not in own:
        rest = items.rest([text, model, "rank", "score", *CALL_FIELDS, *own])
        encoded = json_objects(rest, items.size)
        # Null, because a completion without further fields has no metadata.
        own["metadata"] = pc.if_else(pc.equal(encoded, "{}"), None, encoded)
    if "origin" in own:
        # A completion without an origin came with the data.
        own["origin"] = pc.fill_null(own["origin"], "source")
    texts = read_content(items, text)
    return completions(
        pc.if_else(pc.and_(pc.is_null(texts), pc.is_valid(own["tool_calls"])), "", texts),
        model=items.text(model),
        rank=items.rank("rank"),
        score=items.number("score"),
        **own,
    )


def _first_of(items: Columns, names: tuple[str, ...]) -> str:
    return next((name for name in names if name in items), names[0])


def _own(items: Columns, name: str) -> pa.Array | None:
    """Return a field of pairkit's own sets, or None if it is absent or of another type."""
    if name not in items:
        return None
    try:
        return items.arrays[name].cast(COMPLETION.field(name).type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
        # Another library's field of this name, which then goes to the metadata.
        return None


def _aligned(columns: Columns, name: str | None, offsets: Any, kind: str) -> pa.Array:
    """Read a column of lists with one value per completion; a list of another length is reported."""
    size = int(offsets[-1])
    values = columns.arrays.get(name or "")
    if name is None or values is None or pa.types.is_null(values.type):
        return pa.nulls(size)
    if not is_list(values.type):
        columns.report(present(values), "mixed_types", "is not a list", name)
        return pa.nulls(size)
    # One count per row, one index per completion.
    counts = np.diff(offsets)
    cuts, flat = flatten(values)
    fits = np.diff(cuts) == counts
    columns.report(present(values) & ~fits, "length_mismatch", "has not one value a completion", name)
    fitting = flat.filter(pa.array(np.repeat(fits, np.diff(cuts))))
    # Rows that do not fit get nulls, so that the others stay aligned.
    index = np.full(size, -1)
    index[np.repeat(fits, counts)] = np.arange(len(fitting))
    aligned = fitting.take(pa.array(index, mask=index < 0))
    owners = np.repeat(np.arange(columns.size), counts)
    below = Columns({name: aligned}, size, columns.rows, columns.problems, owners)
    read = {"number": below.number, "rank": below.rank, "text": below.text}[kind]
    return read(name)


def _conversation(columns: Columns, fields: Mapping[str, str]) -> tuple[pa.Array, pa.Array]:
    """Read whole conversations; the last reply is the completion, if there is one."""
    whole = read_messages(columns, fields["messages"])
    cut = cut_last(whole)
    replied = present(cut.reply)
    # One entry per row; a conversation without a reply is a prompt to complete.
    prompt = pc.if_else(pa.array(replied), cut.prompt, whole)
    return prompt, filter_lists(interleave([_alone(columns, fields, cut)]), replied)


def _single(columns: Columns, fields: Mapping[str, str]) -> tuple[pa.Array, pa.Array]:
    reply = read_reply(columns, fields["completion"], whole=False)
    return read_messages(columns, fields["prompt"]), interleave([_alone(columns, fields, reply)])


def _alone(columns: Columns, fields: Mapping[str, str], reply: Conversation) -> pa.Array:
    """Build one completion per row, with its score; a label becomes the score 1 or 0."""
    score = columns.number(fields["score"]) if "score" in fields else pa.nulls(columns.size, pa.float64())
    if "label" in fields:
        label = columns.truth(fields["label"]).cast(pa.float64())
        # The label where there is one, because `score` may be another library's number.
        score = pc.if_else(pc.is_valid(label), label, score)
    model = columns.text(fields["model"]) if "model" in fields else None
    return reply.completions(score=score, model=model)


def _prompts(columns: Columns, fields: Mapping[str, str]) -> tuple[pa.Array, pa.Array]:
    return read_messages(columns, fields["prompt"]), _no_completions(columns)


def _no_completions(columns: Columns) -> pa.Array:
    return listed(np.zeros(columns.size + 1), completions(pa.array([], pa.string())))


def _metadata(columns: Columns, rows: Layout) -> pa.Array:
    """Collect the columns that no field reads; of pairkit's own sets, the metadata unchanged."""
    used = {part for name in rows.fields.values() for part in (name, *name.split("+"))}
    # Sets that pairkit wrote: wrapping their metadata again would make other sets of them.
    if set(IDENTITY) | {"metadata"} <= set(columns.arrays) and is_text(columns.arrays["metadata"].type):
        return columns.text("metadata")
    if rows.shape == "pairs" and "prompt" in rows.fields:
        used.add("messages")  # next to a prompt column, it repeats prompt and chosen
    return json_objects(columns.rest(used), columns.size)


SHAPES = {
    "pairs": _pairs,
    "sets": _sets,
    "single": _single,
    "conversation": _conversation,
    "prompts": _prompts,
}
