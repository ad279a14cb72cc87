"""Rows of any file or hub data set as candidate sets: what `files` and `hub` do.

The layout (fields.py) says which column is what; here each shape of row becomes a prompt and completions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import flatten, is_list, is_text, listed, prepend, present
from pairkit.readers.json_text import json_objects
from pairkit.schema import COMPLETION
from pairkit.sources.base import Draft, Opened, Source, SourceRecipe
from pairkit.sources.reading.columns import Columns, completions, interleave
from pairkit.sources.reading.fields import Layout, check_map, gather, layout
from pairkit.sources.reading.messages import cut_last, read_messages, with_system
from pairkit.sources.reading.pairs import pair, read_reply, shared_prompt
from pairkit.sources.reading.stream import open_files

# Names of the reply in structs of completions; `score` and `model` have few others.
TEXTS = ("text", "content", "response", "output", "answer", "completion", "value")
MODELS = ("model", "generator")
OWN = ("scores", "sampling", "finish_reason", "origin", "metadata")  # of the sets that pairkit writes
IDENTITY = ("set_id", "prompt_id", "source")


def open_mapped(source: Source, recipe: SourceRecipe) -> Opened:
    """As `open_files`, after a look at the recipe's `map`."""
    if recipe.map:
        check_map(recipe.map)
    return open_files(source, recipe)


def convert(table: pa.Table, recipe: SourceRecipe) -> Draft:
    """Rows as sets, by the recipe's `map` or by the names of the columns."""
    columns = Columns.of(table)
    found = layout(columns.arrays, recipe.map)
    if found is None:
        detail = "no column is a prompt, messages, completions, or chosen and rejected"
        columns.report(np.ones(columns.size, dtype=np.bool_), "missing_prompt", detail, None)
        nothing = listed(np.zeros(columns.size + 1), completions(pa.array([], pa.string())))
        return Draft(_no_prompt(columns), nothing, json_objects({}, columns.size), columns.problems)
    fields = found.fields
    columns = gather(columns, fields)
    prompt, sets = SHAPES[found.shape](columns, fields)
    if "system" in fields:
        prompt = with_system(prompt, columns.text(fields["system"]))
    return Draft(prompt, sets, _metadata(columns, found), columns.problems)


def _pairs(columns: Columns, fields: Mapping[str, str]) -> tuple[pa.Array, pa.Array]:
    name = fields.get("prompt") or fields.get("messages")
    given = read_messages(columns, name) if name else None
    if given is not None and _is_texts(columns, fields["rejected"]):
        return given, _one_against_many(columns, fields)
    chosen, rejected = (
        read_reply(columns, fields[side], whole=given is None) for side in ("chosen", "rejected")
    )
    prompt = shared_prompt(columns, given, chosen, rejected, fields["rejected"])
    first, second = (
        columns.number(fields[score]) if score in fields else pa.nulls(columns.size, pa.float64())
        for score in ("score_chosen", "score_rejected")
    )
    return prompt, pair(chosen.reply, rejected.reply, (first, second))


def _is_texts(columns: Columns, name: str) -> bool:
    values = columns.arrays.get(name)
    return values is not None and is_list(values.type) and is_text(values.type.value_type)


def _one_against_many(columns: Columns, fields: Mapping[str, str]) -> pa.Array:
    """One chosen reply, rank 1, and a list of rejected ones, all rank 2."""
    chosen = completions(columns.text(fields["chosen"]), rank=1)
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
    """A struct of texts: one completion a field, written by the model that the field is named after."""
    names = list(fields.arrays)
    sets = interleave([completions(fields.text(name), model=name) for name in names])
    offsets, flat = flatten(sets)
    there = present(flat.field("text"))  # a model without a text did not answer
    kept = np.concatenate([[0], np.cumsum(there)])[offsets]
    return listed(kept, flat.filter(pa.array(there)))


def _structs(items: Columns) -> pa.Array:
    """Structs with a text and any of pairkit's own fields; the other fields become metadata."""
    text, model = _first_of(items, TEXTS), _first_of(items, MODELS)
    own = {name: array for name in OWN if (array := _own(items, name)) is not None}
    if "metadata" not in own:
        rest = items.rest([text, model, "rank", "score", *own])
        encoded = json_objects(rest, items.size)
        own["metadata"] = pc.if_else(pc.equal(encoded, "{}"), None, encoded)
    if "origin" in own:
        own["origin"] = pc.fill_null(own["origin"], "source")
    return completions(
        items.text(text), model=items.text(model), rank=items.rank("rank"), score=items.number("score"), **own
    )


def _first_of(items: Columns, names: tuple[str, ...]) -> str:
    return next((name for name in names if name in items), names[0])


def _own(items: Columns, name: str) -> pa.Array | None:
    """A field that pairkit's own sets have, where it is there and of their type."""
    if name not in items:
        return None
    try:
        return items.arrays[name].cast(COMPLETION.field(name).type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
        return None


def _aligned(columns: Columns, name: str | None, offsets: Any, kind: str) -> pa.Array:
    """A column of lists with one value a completion; a list of another length is reported."""
    size = int(offsets[-1])
    nothing = pa.nulls(size)
    values = columns.arrays.get(name or "")
    if name is None or values is None or pa.types.is_null(values.type):
        return nothing
    if not is_list(values.type):
        columns.report(present(values), "mixed_types", "is not a list", name)
        return nothing
    counts = np.diff(offsets)
    found, flat = flatten(values)
    fits = np.diff(found) == counts
    columns.report(present(values) & ~fits, "length_mismatch", "has not one value a completion", name)
    kept = flat.filter(pa.array(np.repeat(fits, np.diff(found))))
    # Rows that do not fit get nulls, so that the rest stays in line.
    index = np.full(size, -1)
    index[np.repeat(fits, counts)] = np.arange(len(kept))
    lined = kept.take(pa.array(index, mask=index < 0))
    owners = np.repeat(np.arange(columns.size), counts)
    below = Columns({name: lined}, size, columns.rows, columns.problems, owners)
    read = {"number": below.number, "rank": below.rank, "text": below.text}[kind]
    return read(name)


def _conversation(columns: Columns, fields: Mapping[str, str]) -> tuple[pa.Array, pa.Array]:
    """Whole conversations: the last reply is the completion, or there is none yet."""
    whole = read_messages(columns, fields["messages"])
    cut = cut_last(whole)
    replied = present(cut.reply)
    prompt = pc.if_else(pa.array(replied), cut.prompt, whole)
    flat = _alone(columns, fields, cut.reply)
    offsets = np.concatenate([[0], np.cumsum(replied)])
    return prompt, listed(offsets, flat.filter(pa.array(replied)))


def _single(columns: Columns, fields: Mapping[str, str]) -> tuple[pa.Array, pa.Array]:
    reply = read_reply(columns, fields["completion"], whole=False).reply
    return read_messages(columns, fields["prompt"]), interleave([_alone(columns, fields, reply)])


def _alone(columns: Columns, fields: Mapping[str, str], reply: pa.Array) -> pa.Array:
    """One completion a row, with its score; a label becomes the score 1 or 0."""
    score = columns.number(fields["score"]) if "score" in fields else pa.nulls(columns.size, pa.float64())
    if "label" in fields:
        label = columns.truth(fields["label"]).cast(pa.float64())
        score = pc.if_else(pc.is_valid(label), label, score)
    model = columns.text(fields["model"]) if "model" in fields else None
    return completions(reply, score=score, model=model)


def _prompts(columns: Columns, fields: Mapping[str, str]) -> tuple[pa.Array, pa.Array]:
    nothing = completions(pa.array([], pa.string()))
    return read_messages(columns, fields["prompt"]), listed(np.zeros(columns.size + 1), nothing)


def _no_prompt(columns: Columns) -> pa.Array:
    return read_messages(columns, "")


def _metadata(columns: Columns, found: Layout) -> pa.Array:
    """The columns that nothing else holds; of pairkit's own sets, their metadata as it is."""
    used = {part for name in found.fields.values() for part in (name, *name.split("+"))}
    if set(IDENTITY) | {"metadata"} <= set(columns.arrays) and is_text(columns.arrays["metadata"].type):
        return columns.text("metadata")
    if found.shape == "pairs" and "prompt" in found.fields:
        used.add("messages")  # where there is a prompt beside it, it repeats prompt and chosen
    return json_objects(columns.rest(used), columns.size)


SHAPES = {
    "pairs": _pairs,
    "sets": _sets,
    "single": _single,
    "conversation": _conversation,
    "prompts": _prompts,
}
