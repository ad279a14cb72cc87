"""Views of candidate sets: pairs and labeled completions.

A pair is a completion of the best rank (the first of them) and one that is strictly below it; noise is below
every ranked completion. A set in which no completion is ranked, or none is below the best, makes no pair.
`reshape` puts pairs into the layouts of other libraries.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import flatten, listed, offsets, repeat, structs
from pairkit.dataset import extras
from pairkit.dataset.chat_json import CHAT, JSON, as_json, chats
from pairkit.errors import unknown
from pairkit.mining import draws
from pairkit.mining.policies import NEGATIVE, RANKED, with_best
from pairkit.mining.recipe import Chosen, Rejected
from pairkit.quantile import above_lowest
from pairkit.schema import MESSAGE, PROMPT
from pairkit.sets import batches, best_first, completions, numbers

# Messages of nothing but a role and a content: all that most datasets have.
TURNS = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
_SCORES = [("score_chosen", pa.float64()), ("score_rejected", pa.float64())]
_SIDES = ("prompt", "chosen", "rejected")
# TRL's conversational preference format, with the scores as trl-lib publishes them.
PAIRS = pa.schema([*((side, TURNS) for side in _SIDES), *_SCORES])
# The same where a set has tools, tool calls, thoughts or arguments of the template: see `chat_json`.
_EXTRA = [("tools", JSON), ("chat_template_kwargs", JSON)]
CHAT_PAIRS = pa.schema([*((side, CHAT) for side in _SIDES), *_SCORES, *_EXTRA])
# TRL's conversational unpaired preference format, in both forms.
UNPAIRED = pa.schema([("prompt", TURNS), ("completion", TURNS), ("label", pa.bool_())])
CHAT_UNPAIRED = pa.schema([("prompt", CHAT), ("completion", CHAT), ("label", pa.bool_()), *_EXTRA])
# Pairs and labeled completions with everything that a set holds, from which the others are made.
_TEXTS = [("tools", pa.string()), ("chat_template_kwargs", pa.string())]
FULL_PAIRS = pa.schema([*((side, PROMPT) for side in _SIDES), *_SCORES, *_TEXTS])
_FULL_UNPAIRED = pa.schema([("prompt", PROMPT), ("completion", PROMPT), ("label", pa.bool_()), *_TEXTS])
# A completion that is its set's only one and has a label as its score, as in training with --loss kto.
LABELED = (pl.len().over("set") == 1) & pl.col("score").is_in([0.0, 1.0])


def pairs(
    sets: pa.Table,
    *,
    chosen: Chosen = "best",
    rejected: Rejected = "random",
    seed: int = 0,
    chat: bool | None = None,
) -> pa.Table:
    """Make a table of one row per pair, in the order of the sets: `PAIRS`, or `CHAT_PAIRS` with `chat`.

    Args:
        rejected: "worst" (the last completion: noise, where there is some), "quantile" (the one at the 2.3 %
            quantile of those below the best, see `pairkit.quantile`), "random" or "policy" (one, sampled by
            `seed` and `set_id`) or "all" (one row per completion below the best).
        chat: whether messages are JSON objects, next to columns of tools and arguments of the template;
            None = where a set holds more than roles and contents. Without it, that is left out.

    A completion without a score has a null there. Raises `RecipeError` for an unknown choice.
    """
    full = full_pairs(sets, chosen=chosen, rejected=rejected, seed=seed)
    return published(full, chat=_holds_more(sets) if chat is None else chat)


def full_pairs(
    sets: pa.Table, *, chosen: Chosen = "best", rejected: Rejected = "random", seed: int = 0
) -> pa.Table:
    """Make the pairs as a `FULL_PAIRS` table: see `pairs`."""

    def view(batch: pa.RecordBatch) -> pa.RecordBatch:
        flat = completions(batch)
        # `rows` has one row per pair, `batch` one per set and `flat` one per completion.
        rows = _pick(batch, flat, chosen, rejected, seed)
        owners = rows["set"].to_arrow()
        return pa.record_batch(
            [
                pc.take(batch["prompt"], owners),
                _replies(flat, rows["chosen"]),
                _replies(flat, rows["rejected"]),
                *_scores(flat, rows),
                *(pc.take(batch[name], owners) for name, _ in _TEXTS),
            ],
            schema=FULL_PAIRS,
        )

    return _view(sets, view, FULL_PAIRS)


def unpaired(sets: pa.Table, *, chat: bool | None = None) -> pa.Table:
    """Make one row per completion of each set that makes a pair: `UNPAIRED`, or `CHAT_UNPAIRED` with `chat`.

    The label is true for completions of the best rank and false for those below it, noise among them;
    unranked completions are left out. The only completion of a set, if its score is 1 or 0, has that label.
    `chat` is as in `pairs`.
    """

    def view(batch: pa.RecordBatch) -> pa.RecordBatch:
        flat = completions(batch)
        frame = with_best(best_first(numbers(batch, flat)), RANKED)
        frame = frame.filter(LABELED | ((RANKED | NEGATIVE) & NEGATIVE.any().over("set")))
        # One label per completion that is in the view, not per set.
        label = pl.when(LABELED).then(pl.col("score") == 1).otherwise(~NEGATIVE)
        owners = frame["set"].to_arrow()
        return pa.record_batch(
            [
                pc.take(batch["prompt"], owners),
                _replies(flat, frame["row"]),
                frame.select(label).to_series().to_arrow(),
                *(pc.take(batch[name], owners) for name, _ in _TEXTS),
            ],
            schema=_FULL_UNPAIRED,
        )

    full = _view(sets, view, _FULL_UNPAIRED)
    return _published(full, UNPAIRED, CHAT_UNPAIRED, _holds_more(sets) if chat is None else chat)


def published(full: pa.Table, *, chat: bool) -> pa.Table:
    """Reduce `FULL_PAIRS` to `PAIRS`, or with `chat` write them as `CHAT_PAIRS`."""
    return _published(full, PAIRS, CHAT_PAIRS, chat)


def as_chat(pairs: pa.Table) -> pa.Table:
    """Write `PAIRS` as `CHAT_PAIRS`."""
    batches = []
    for batch in pairs.to_batches():
        sides = [batch[side].cast(PROMPT) for side in _SIDES]
        scores = [batch[name] for name, _ in _SCORES]
        nothing = [pa.nulls(batch.num_rows, kind) for _, kind in _TEXTS]
        batches.append(pa.record_batch([*sides, *scores, *nothing], schema=FULL_PAIRS))
    return published(pa.Table.from_batches(batches, schema=FULL_PAIRS), chat=True)


def _holds_more(sets: pa.Table) -> bool:
    return bool(extras.held(sets.to_batches()))


def _published(full: pa.Table, plain: pa.Schema, chat: pa.Schema, is_chat: bool) -> pa.Table:
    schema = chat if is_chat else plain
    batches = [_in_form(batch, schema) for batch in full.to_batches()]
    return pa.Table.from_batches(batches, schema=schema)


def _in_form(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    columns = []
    for field in schema:
        values = batch[field.name]
        if field.type == CHAT:
            values = chats(values, "object")
        elif field.type == TURNS:
            values = turns(values)
        elif field.type == JSON:
            # TRL unpacks the arguments of the template, so there has to be an object in every row.
            values = as_json(pc.fill_null(values, "{}") if field.name == "chat_template_kwargs" else values)
        columns.append(values)
    return pa.record_batch(columns, schema=schema)


def turns(prompts: pa.Array) -> pa.ListArray:
    """Reduce lists of MESSAGE to roles and contents."""
    cuts, flat = flatten(prompts)
    fields = {name: pc.struct_field(flat, name) for name in ("role", "content")}
    return listed(cuts, structs(TURNS.value_type, len(flat), **fields))


def without_pair(batch: pa.RecordBatch, *, labels: bool = False) -> pa.Array:
    """Tell for each set why it makes no pair: "unranked", "no_choice" (a tie), or null where it makes one.

    With `labels`, a set that `unpaired` takes for the label of its only completion has no reason either.
    """
    frame = with_best(best_first(numbers(batch, completions(batch))), RANKED)
    # One entry per set. Each line overwrites the one before: unranked, then a tie, then a pair.
    reasons = np.full(batch.num_rows, "unranked", object)
    reasons[frame.filter(RANKED)["set"].to_numpy()] = "no_choice"
    reasons[frame.filter(NEGATIVE | LABELED if labels else NEGATIVE)["set"].to_numpy()] = None
    return pa.array(reasons, pa.string())


def _view(sets: pa.Table, view: Callable[[pa.RecordBatch], pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_batches([view(batch) for batch in batches(sets)], schema=schema)


def _pick(
    batch: pa.RecordBatch, flat: pa.StructArray, chosen: Chosen, rejected: Rejected, seed: int
) -> pl.DataFrame:
    """Choose the pairs: columns `set`, and `chosen` and `rejected`, which are rows of `flat`."""
    for kind, value, choices in (("chosen", chosen, Chosen), ("rejected", rejected, Rejected)):
        if value not in get_args(choices):
            raise unknown(f"way to choose the {kind} completion", value, get_args(choices))
    frame = with_best(best_first(numbers(batch, flat)), RANKED).filter(NEGATIVE)
    frame = frame.select("set", chosen="best_row", rejected="row")
    if rejected == "all":
        return frame
    if rejected == "worst":
        return frame.group_by("set", maintain_order=True).last()
    frame = frame.with_columns(place=pl.int_range(pl.len()).over("set"), count=pl.len().over("set"))
    if rejected == "quantile":
        return frame.filter(pl.col("place") == pl.col("count") - 1 - above_lowest(pl.col("count")))
    keys = draws.keys(seed, "rejected", batch["set_id"].to_pylist())
    # One number per set, repeated for its rows: the frame has a row per completion below the best.
    places = draws.below(draws.draw(keys)[frame["set"].to_numpy()], frame["count"].to_numpy())
    return frame.filter(pl.col("place") == pl.Series(places))


def _replies(flat: pa.StructArray, rows: pl.Series) -> pa.ListArray:
    """Make each completion a conversation of one assistant turn."""
    selection = pc.take(flat, rows.to_arrow())
    fields = {"content": "text", "reasoning_content": "reasoning_content", "tool_calls": "tool_calls"}
    columns = {name: pc.struct_field(selection, field) for name, field in fields.items()}
    replies = structs(MESSAGE, len(rows), role=repeat("assistant", len(rows), pa.string()), **columns)
    return pa.ListArray.from_arrays(offsets(np.ones(len(rows), np.int64)), replies)


def _scores(flat: pa.StructArray, rows: pl.DataFrame) -> list[pa.Array]:
    scores = pc.struct_field(flat, "score")
    return [pc.take(scores, rows[name].to_arrow()) for name in ("chosen", "rejected")]
