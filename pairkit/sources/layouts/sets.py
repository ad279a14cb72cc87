"""Rows with several completions: a list of texts or objects, an object of texts, or a column for each.

A row may also say what they are worth: scores, ranks, the winner, or by how much one is better.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import (
    Mask,
    Offsets,
    filter_lists,
    flatten,
    interleave,
    is_list,
    is_number,
    is_text,
    list_indices,
    listed,
    mask,
    present,
    with_fields,
)
from pairkit.sources.layouts import dialogues, outcomes
from pairkit.sources.layouts.field_map import columns_of
from pairkit.sources.layouts.own_fields import may_be_own, metadata_of, own_fields, own_metadata
from pairkit.sources.reading.cells import report_dialogues
from pairkit.sources.reading.columns import Columns, completions, named_scores
from pairkit.sources.reading.contents import TEXT_KEYS, read_content
from pairkit.sources.reading.dialogues import CALL_FIELDS
from pairkit.sources.reading.media import report_media
from pairkit.sources.reading.messages import open_transcripts, read_messages, with_thoughts
from pairkit.sources.reading.pairs import (
    common_prompt,
    holds_replies,
    prompt_of_all,
    read_replies,
    read_reply,
)
from pairkit.sources.reading.turns import THOUGHT_FIELDS, read_calls, read_roles, read_thoughts

# Names under which structs of completions have the model of the reply, and what it is worth.
MODELS = ("model", "generator")
SCORES = ("score", "reward", "rating", "votes", "upvotes")
TRUTHS = ("is_chosen", "chosen", "is_preferred", "preferred", "accepted", "selected", "is_correct", "correct")
RATINGS = (*SCORES, "ratings", "rank", "overall_score", "annotations")


def read_sets(columns: Columns, fields: Mapping[str, Any]) -> tuple[pa.Array, pa.Array]:
    """Return the prompts and the lists of completions of rows with the field `completions`."""
    names = columns_of(fields["completions"], columns.arrays)
    prompt, sets = _contents(columns, fields, names)
    offsets, flat = flatten(sets)
    scores = _aligned(columns, fields.get("scores"), offsets, "number")
    if scores is not None and "other_scores" in fields:
        others = _aligned(columns, fields["other_scores"], offsets, "number")
        scores = scores if others is None else outcomes.or_others(scores, others, offsets)
    if "labels" in fields:
        labels = _aligned(columns, fields["labels"], offsets, "truth")
        scores = None if labels is None else labels.cast(pa.float64())
    arrays = {
        "score": scores,
        "rank": _aligned(columns, fields.get("ranks"), offsets, "rank"),
        "model": _models(columns, fields.get("models"), offsets),
    }
    flat = with_fields(flat, **{name: values for name, values in arrays.items() if values is not None})
    thoughts = _aligned(columns, fields.get("reasonings"), offsets, "text")
    if thoughts is not None:
        flat = with_fields(flat, reasoning_content=with_thoughts(flat.field("reasoning_content"), thoughts))
    flat = with_fields(flat, rank=outcomes.from_one(flat.field("rank"), offsets))
    return prompt, listed(offsets, _judged(columns, fields, names, offsets, flat))


def _contents(columns: Columns, fields: Mapping[str, Any], names: Sequence[str]) -> tuple[pa.Array, pa.Array]:
    """Return prompts and lists of completions, by where the rows have their prompt."""
    if "questions" in fields:
        return dialogues.read_questions(columns, fields["questions"], names)
    column = None
    if "transcript" in fields:
        column = open_transcripts(columns, fields["transcript"])
    elif "prompt" in fields or "messages" in fields:
        column = read_messages(columns, fields.get("prompt") or fields["messages"])
    elif "prompt" in columns.arrays and "prompt" not in columns:
        # A column of nothing but nulls: the prompt is missing, and not in the completions.
        column = read_messages(columns, "prompt")
    if len(names) > 1:
        return _columns_of_replies(columns, column, names)
    if holds_replies(columns, names[0]):
        if column is None:
            return dialogues.read_dialogues(columns, names[0])
        return _lists_of_replies(columns, column, names[0])
    # A prompt that no field reads is missing, which the checks of every source report.
    prompt = read_messages(columns, "prompt") if column is None else column
    return prompt, _completions(columns, names[0])


def _judged(
    columns: Columns, fields: Mapping[str, Any], names: Sequence[str], offsets: Offsets, flat: pa.Array
) -> pa.Array:
    """Give completions the ranks and scores that follow from what a row says about all of them."""
    if "order" in fields:
        places = _aligned(columns, fields["order"], offsets, "rank")
        flat = with_fields(flat, rank=outcomes.place_ranks(columns, fields["order"], offsets, places))
    if fields.get("rank_by_order") in (True, "true"):
        flat = with_fields(flat, rank=outcomes.order_ranks(offsets))
    if "flags" in fields:
        flat = with_fields(flat, rank=outcomes.flag_ranks(columns, fields["flags"], offsets))
    if "winner" in fields:
        votes = columns_of(fields["winner"], columns.arrays)
        meanings = fields.get("winners", {})
        flat = with_fields(flat, rank=outcomes.winner_ranks(columns, votes, offsets, flat, names, meanings))
        if "loser" in fields:
            lost = outcomes.lost(columns, fields["loser"], offsets, flat, names, meanings)
            flat = with_fields(flat, rank=lost)
    if "scores" in fields and {"winner", "flags"} & fields.keys():
        outcomes.report_contradictions(columns, fields["scores"], offsets, flat)
    if "preference" in fields:
        flat = with_fields(flat, score=outcomes.preference_scores(columns, fields["preference"], offsets))
    if "strength" in fields and "winner" in fields:
        ranks = flat.field("rank")
        flat = with_fields(flat, score=outcomes.margin_scores(columns, fields["strength"], offsets, ranks))
    elif "strength" in fields:
        flat = with_fields(flat, score=outcomes.strength_scores(columns, fields["strength"], offsets))
    return flat


def _models(columns: Columns, name: str | None, offsets: Offsets) -> pa.Array | None:
    """Read the models of the completions: a list per row, or one text for all of them."""
    values = columns.arrays.get(name or "")
    if name is None or values is None or not is_text(values.type):
        return _aligned(columns, name, offsets, "text")
    return columns.text(name).take(pa.array(list_indices(offsets)))


def _completions(columns: Columns, name: str) -> pa.Array:
    values = columns.arrays.get(name)
    if values is not None and pa.types.is_struct(values.type):
        return _by_model(columns.struct(name))
    offsets, items = columns.items(name, of="texts or objects")
    return listed(offsets, _structs(items))


def _lists_of_replies(columns: Columns, column: pa.Array, name: str) -> tuple[pa.Array, pa.Array]:
    """Read lists of texts or dialogues; a dialogue may hold the prompt too."""
    cuts, replies = read_replies(columns, name)
    prompt = common_prompt(columns, column, cuts, replies.prompt, name)
    return prompt, listed(cuts, replies.completions())


def _columns_of_replies(
    columns: Columns, column: pa.Array | None, names: Sequence[str]
) -> tuple[pa.Array, pa.Array]:
    """Read a column per completion; each is a text, a message, or a dialogue that holds the prompt too."""
    replies = [read_reply(columns, name, whole=column is None) for name in names]
    prompt = prompt_of_all(columns, column, replies, names[-1])
    return prompt, interleave([reply.completions() for reply in replies])


def _by_model(fields: Columns) -> pa.Array:
    """Read a struct of texts: one completion per field, by the model that the field is named after."""
    names = list(fields.arrays)
    if not names:  # objects without fields, next to no others
        return listed(np.zeros(fields.size + 1), completions(pa.array([], pa.string())))
    sets = interleave([completions(fields.text(name), model=name) for name in names])
    sets = _in_own_order(sets, fields, names)
    answered = present(flatten(sets)[1].field("text"))  # a null is a model that did not answer
    return filter_lists(sets, answered)


def _in_own_order(sets: pa.Array, fields: Columns, names: Sequence[str]) -> pa.Array:
    """Return the completions of each row in the order of its own object."""
    if fields.raw is None:
        return sets
    places = {name: place for place, name in enumerate(names)}
    order = np.tile(np.arange(len(names)), (fields.size, 1))
    orders: dict[tuple[str, ...], list[int]] = {}
    for row, value in enumerate(fields.raw.values):
        keys = tuple(value) if isinstance(value, dict) else ()
        if keys not in orders:
            own = [places[key] for key in keys if key in places]
            orders[keys] = [] if own == sorted(own) else [*own, *sorted(set(places.values()) - set(own))]
        if orders[keys]:
            order[row] = orders[keys]
    cuts, flat = flatten(sets)
    return listed(cuts, flat.take(pa.array((order + cuts[:-1, None]).ravel())))


def _structs(items: Columns) -> pa.Array:
    """Read structs with a text and any of pairkit's own fields; the other fields become metadata."""
    report_media(items)
    _report_others(items)
    types = {name: values.type for name, values in items.arrays.items() if name in items}
    text, model, score = (items.firsts(names) for names in (TEXT_KEYS, MODELS, _scores_of(types)))
    own = own_fields(items)
    thoughts, explanations = _thoughts(items, text)
    own_masks = {name: ~each.left for name, each in own.items()}
    own_items = own_metadata(items)
    if "metadata" in items:
        own_masks["metadata"] = own_items
    rest = items.without(text | model | score | own_masks).rest(["rank", *CALL_FIELDS, *explanations])
    fields = {name: each.values for name, each in own.items()}
    if "origin" in fields:
        # A completion without an origin came with the data.
        fields["origin"] = pc.fill_null(fields["origin"], "source")
    if "scores" in fields:
        fields["scores"] = pc.coalesce(fields["scores"], named_scores({}, items.size))
    calls = read_calls(items)
    texts = _coalesced(items, text, read_content)
    return completions(
        pc.if_else(pc.and_(pc.is_null(texts), pc.is_valid(calls)), "", texts),
        model=_coalesced(items, model, Columns.text),
        rank=items.rank("rank"),
        score=_coalesced(items, score, _score).cast(pa.float64()),
        tool_calls=calls,
        reasoning_content=thoughts,
        metadata=metadata_of(items, own_items, rest | explanations),
        **fields,
    )


def _coalesced(
    items: Columns, read: Mapping[str, Mask], values: Callable[[Columns, str], pa.Array]
) -> pa.Array:
    """Read each item under the first of its names, as `Columns.firsts` finds them."""
    arrays = [values(items.only(name, where), name) for name, where in read.items()]
    return pc.coalesce(*arrays) if arrays else pa.nulls(items.size, pa.string())


def _score(items: Columns, name: str) -> pa.Array:
    return items.truth(name).cast(pa.float64()) if name in TRUTHS else items.number(name)


def _scores_of(types: Mapping[str, pa.DataType]) -> list[str]:
    """Return the fields of structs that may be their score, the first ones first."""
    # A text may say that there is none, and is then nobody's mistake; not so under the name itself.
    numbers = [name for name in SCORES if name in types and is_number(types[name])]
    truths = [name for name in TRUTHS if name in types and pa.types.is_boolean(types[name])]
    return list(dict.fromkeys([*(["score"] if "score" in types else []), *numbers, *truths]))


def unread_keys(kind: pa.DataType) -> list[str]:
    """Return the fields of structs of completions that are read as nothing but metadata."""
    if not pa.types.is_struct(kind):
        return []
    types = {field.name: field.type for field in kind if not pa.types.is_null(field.type)}
    first = [next((name for name in names if name in types), "") for names in (TEXT_KEYS, MODELS)]
    own = {name for name, kind in types.items() if may_be_own(name, kind)}
    read = {*first, "rank", *_scores_of(types)[:1], "role", "from", *CALL_FIELDS, *THOUGHT_FIELDS, *own}
    return [name for name in types if name not in read]


def _thoughts(items: Columns, text: Mapping[str, Mask]) -> tuple[pa.Array, dict[str, pa.Array]]:
    """Return the model's thoughts, and what else the fields of thoughts hold.

    `reasoning` next to a rating may be that of a judge; next to the content of a message it is the model's.
    """
    names = [name for name in THOUGHT_FIELDS if name in items and is_text(items.arrays[name].type)]
    nowhere = np.zeros(items.size, np.bool_)
    rated = [present(items.arrays[name]) for name in RATINGS if name in items]
    message = text["content"] & present(items.arrays["content"]) if "content" in text else nowhere
    judged = np.logical_or.reduce([nowhere, *rated]) & ~message
    if "reasoning" not in names:
        return read_thoughts(items, names), dict.fromkeys(names, pa.nulls(items.size))
    reasoning = items.only("reasoning", judged).arrays["reasoning"]
    others = dict.fromkeys(names, pa.nulls(items.size)) | {"reasoning": reasoning}
    return read_thoughts(items.only("reasoning", ~judged), names), others


def _report_others(items: Columns) -> None:
    """Report messages of others than the assistant, and dialogues in the texts of others' objects."""
    for name in ("role", "from"):
        if name in items and is_text(items.arrays[name].type):
            roles = read_roles(items, [name])[1]
            spoken = present(items.arrays[name]) & ~mask(pc.equal(roles, "assistant"))
            items.report(
                spoken, "unsupported_content", "is not an assistant's message, and so not a completion", name
            )
    # pairkit wrote the others, whatever their texts look like.
    others = ~present(items.arrays["origin"]) if "origin" in items else np.ones(items.size, np.bool_)
    for name, where in items.firsts(TEXT_KEYS).items():
        report_dialogues(items.only(name, where & others), name)


def _aligned(columns: Columns, name: str | None, offsets: Any, kind: str) -> pa.Array | None:
    """Read a column of lists with one value per completion; a list of another length is reported.

    Return None if the rows have no such column.
    """
    if name is None:
        return None
    size = int(offsets[-1])
    values = columns.arrays.get(name)
    if values is None or pa.types.is_null(values.type):
        return None
    if not is_list(values.type):
        columns.report(present(values), "mixed_types", "is not a list", name)
        return None
    # One count per row, one index per completion.
    counts = np.diff(offsets)
    cuts, flat = flatten(values)
    fits = np.diff(cuts) == counts
    columns.report(present(values) & ~fits, "length_mismatch", "does not have one value per completion", name)
    fitting = flat.filter(pa.array(np.repeat(fits, np.diff(cuts))))
    # Rows that do not fit get nulls, so that the others stay aligned.
    index = np.full(size, -1)
    index[np.repeat(fits, counts)] = np.arange(len(fitting))
    column = fitting.take(pa.array(index, mask=index < 0))
    rows = list_indices(offsets)
    owners = rows if columns.owners is None else columns.owners[rows]
    below = Columns({name: column}, size, columns.rows, columns.problems, owners)
    read = {"number": below.number, "rank": below.rank, "text": below.text, "truth": below.truth}[kind]
    return read(name)
