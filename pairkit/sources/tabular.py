"""Rows of any file or hub dataset as candidate sets: the sources `files` and `hub`.

A layout (layouts/) says which column is which field; here each shape of row becomes prompts and completions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import (
    filter_lists,
    flatten,
    interleave,
    listed,
    present,
    repeat,
    with_fields,
)
from pairkit.errors import unknown
from pairkit.readers.blocks import RowTable
from pairkit.readers.json_text import json_objects
from pairkit.readers.written.raw_values import RAW, Rest
from pairkit.sources.base import Draft, Opened, Source, SourceRecipe
from pairkit.sources.layouts.context import other_systems
from pairkit.sources.layouts.field_map import check_map, columns_of, fields_in
from pairkit.sources.layouts.gather import cells_of, gather, replies_of
from pairkit.sources.layouts.layout import Layout
from pairkit.sources.layouts.outcomes import from_one
from pairkit.sources.layouts.own_fields import own_metadata
from pairkit.sources.layouts.pairs import read_pairs
from pairkit.sources.layouts.paths import first_column
from pairkit.sources.layouts.sets import read_sets
from pairkit.sources.layouts.table import LAYOUTS
from pairkit.sources.layouts.unread import IDENTITY, is_own, repeats_the_pair, without_read
from pairkit.sources.layouts.written import group_keys, named_answer
from pairkit.sources.reading import json_columns
from pairkit.sources.reading.cells import read_apart, read_system
from pairkit.sources.reading.columns import Columns, completions, named_scores
from pairkit.sources.reading.history import read_history, with_history
from pairkit.sources.reading.messages import (
    Conversation,
    cut_last,
    read_messages,
    with_system,
    with_thoughts,
)
from pairkit.sources.reading.pairs import prompt_of_all, read_reply
from pairkit.sources.reading.rounds import with_rounds
from pairkit.sources.reading.spelled_replies import report_spelled
from pairkit.sources.reading.stream import open_files

# What rows become: prompts, lists of completions, and the group of each row if rows are joined into sets.
Read = tuple[pa.Array, pa.Array, pa.Array | None]


def open_mapped(source: Source, recipe: SourceRecipe) -> Opened:
    """Open files as `open_files` does, after checking the recipe's `map` and `layout`."""
    check_map(recipe.map)
    if recipe.layout is not None and recipe.layout not in LAYOUTS:
        raise unknown("layout", recipe.layout, LAYOUTS)
    return open_files(source, recipe)


def expand(rows: RowTable, recipe: SourceRecipe) -> RowTable:
    """Turn each raw row into the rows that its layout makes of it."""
    layout = _layout(recipe)
    return rows if layout.expand is None else layout.expand(rows)


def convert(table: pa.Table, recipe: SourceRecipe) -> Draft:
    """Convert rows to sets, by the layout and the `map` of a recipe that `recognize` has completed."""
    layout = _layout(recipe)
    columns = Columns.of(table)
    if layout.prepare is not None:
        columns = replace(columns, arrays={**columns.arrays, **layout.prepare(columns.arrays)})
    fields = fields_in(recipe.map)
    roles = recipe.map.get("roles", {})
    assert isinstance(roles, Mapping)
    columns = gather(replace(columns, roles={str(name): role for name, role in roles.items()}), fields)
    if "prompt" in fields:
        replies = replies_of(fields, columns.arrays)
        columns = with_rounds(columns, fields["prompt"], replies)
        report_spelled(columns, fields["prompt"], replies or [fields.get("completions", "")])
    prompt, sets, group = read_apart(
        columns,
        cells_of(fields, columns.arrays),
        lambda part: _with_history(SHAPES[layout.shape](part, recipe.map), part, fields),
    )
    if "system" in fields:
        prompt = with_system(prompt, _system(columns, fields["system"]))
    # None and not a column of nulls, so that tools in a column that `map` does not name are found.
    kwargs, tools = (
        json_columns.read_json(columns, fields[name], normal) if name in fields else None
        for name, normal in (
            ("chat_template_kwargs", json_columns.arguments),
            ("tools", json_columns.tools),
        )
    )
    rest = _rest(columns, [name for name in table.column_names if name != RAW], layout, fields)
    if "answer" in fields:
        # Where a verifier looks for it.
        rest |= named_answer(columns, fields["answer"])
    if group is not None:
        # A row is one completion of its set, and so is what else it says.
        sets, rest = _with_metadata(sets, json_objects(rest, columns.size)), Rest({}, {})
    return Draft(
        prompt,
        sets,
        _metadata(columns, rest),
        columns.problems,
        tools=tools,
        chat_template_kwargs=kwargs,
        group=group,
    )


def _layout(recipe: SourceRecipe) -> Layout:
    assert recipe.layout is not None
    return LAYOUTS[recipe.layout]


def _with_history(read: Read, columns: Columns, fields: Mapping[str, str]) -> Read:
    if "history" not in fields:
        return read
    prompt, sets, group = read
    return with_history(prompt, read_history(columns, fields["history"])), sets, group


def _system(columns: Columns, name: str) -> pa.Array:
    texts = read_system(columns, name)
    for other in other_systems(columns.arrays, name):
        texts = pc.coalesce(pc.if_else(pc.equal(texts, ""), None, texts), columns.text(other))
    return texts


def _pairs(columns: Columns, fields: Mapping[str, Any]) -> Read:
    return *read_pairs(columns, fields), None


def _sets(columns: Columns, fields: Mapping[str, Any]) -> Read:
    return *read_sets(columns, fields), None


def _conversation(columns: Columns, fields: Mapping[str, Any]) -> Read:
    """Read whole conversations; the last reply is the completion, if there is one."""
    whole = read_messages(columns, fields["messages"])
    cut = cut_last(whole)
    replied = present(cut.reply)
    # One entry per row; a conversation without a reply is a prompt to complete.
    prompt = pc.if_else(pa.array(replied), cut.prompt, whole)
    return prompt, filter_lists(interleave([_alone(columns, fields, cut)]), replied), None


def _single(columns: Columns, fields: Mapping[str, Any]) -> Read:
    reply = read_reply(columns, fields["completion"], whole=False)
    if "reasoning" in fields:
        reply = reply._replace(thoughts=with_thoughts(reply.thoughts, columns.text(fields["reasoning"])))
    sets = interleave([_alone(columns, fields, reply)])
    prompt = prompt_of_all(columns, read_messages(columns, fields["prompt"]), [reply], fields["completion"])
    return prompt, sets, _group(columns, fields)


def _group(columns: Columns, fields: Mapping[str, Any]) -> pa.Array | None:
    """Return what rows of one prompt need to have in common to be one set; None if every row is its own."""
    name = fields.get("group")
    if name is None:
        return None
    if name == fields["prompt"]:
        return repeat("", columns.size, pa.string())
    return group_keys(columns, name)


def _alone(columns: Columns, fields: Mapping[str, Any], reply: Conversation) -> pa.Array:
    """Build one completion per row, with its score; a label becomes the score 1 or 0."""
    ratings = columns_of(fields["ratings"], columns.arrays) if "ratings" in fields else ()
    numbers = {name: columns.number(name) for name in ratings}
    score = (
        _mean([columns.number(name) for name in columns_of(fields["score"], columns.arrays)])
        if "score" in fields
        else _mean(list(numbers.values()) or [pa.nulls(columns.size, pa.float64())])
    )
    if "label" in fields:
        label = columns.truth(fields["label"]).cast(pa.float64())
        # The label where there is one, because `score` may be another library's number.
        numbers["score"] = pc.if_else(pc.is_valid(label), score, None)
        score = pc.coalesce(label, score)
    model = columns.text(fields["model"]) if "model" in fields else None
    rank = columns.rank(fields["rank"]) if "rank" in fields else None
    if rank is not None and "group" not in fields:
        rank = from_one(rank, np.arange(columns.size + 1, dtype=np.int32))
    scores = named_scores(numbers, columns.size)
    return reply.completions(rank=rank, score=score, scores=scores, model=model)


def _mean(numbers: list[pa.Array]) -> pa.Array:
    """Return the mean of the numbers of each row that are there; null if none is."""
    if len(numbers) == 1:
        return numbers[0]
    lists = interleave(numbers)
    series = pl.from_arrow(lists)
    assert isinstance(series, pl.Series)
    return series.list.drop_nulls().list.mean().to_arrow().cast(pa.float64())


def _prompts(columns: Columns, fields: Mapping[str, Any]) -> Read:
    return read_messages(columns, fields["prompt"]), _no_completions(columns), None


def _no_completions(columns: Columns) -> pa.Array:
    return listed(np.zeros(columns.size + 1), completions(pa.array([], pa.string())))


def _with_metadata(sets: pa.Array, metadata: pa.Array) -> pa.Array:
    """Give the one completion of each set its metadata, `{}` being none."""
    cuts, flat = flatten(sets)
    return listed(cuts, with_fields(flat, metadata=pc.if_else(pc.equal(metadata, "{}"), None, metadata)))


def _rest(columns: Columns, names: Sequence[str], layout: Layout, fields: Mapping[str, str]) -> Rest:
    """Return the raw columns that no field reads."""
    # An outcome is kept next to what follows from it: "tie (bothbad)" says more than two equal ranks.
    outcome_fields = (
        fields[name] for name in ("winner", "loser", "strength", "preference", "answer") if name in fields
    )
    outcome_paths = {path for value in outcome_fields for path in columns_of(value, names)}
    paths = {path for value in fields.values() for path in columns_of(value, names)} - outcome_paths
    # So are the annotations of which an outcome was made.
    paths |= set() if fields.get("winner") in layout.adds else set(layout.reads)
    read_names = {first_column(path, names) for path in paths}
    read = columns.those(name for name in names if name in read_names)
    return without_read(read, sorted(paths)) | columns.those(
        name for name in names if name not in read_names and not repeats_the_pair(layout, fields, name)
    )


def _metadata(columns: Columns, rest: Rest) -> pa.Array:
    """Write the columns that no field reads as JSON; of pairkit's own sets, the metadata unchanged."""
    # Sets that pairkit wrote: wrapping their metadata again would make other sets of them.
    own_rows = np.zeros(columns.size, np.bool_)
    if is_own({name: (values.type,) for name, values in columns.arrays.items()}):
        id_masks = [present(columns.arrays[name]) for name in IDENTITY]
        own_rows = np.logical_and.reduce([own_metadata(columns), *id_masks])
    if own_rows.all() and columns.size:
        return columns.text("metadata")
    others = json_objects(rest, columns.size)
    return pc.if_else(pa.array(own_rows), columns.text("metadata"), others) if own_rows.any() else others


SHAPES = {
    "pairs": _pairs,
    "sets": _sets,
    "single": _single,
    "conversation": _conversation,
    "prompts": _prompts,
}
