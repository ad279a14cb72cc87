"""The mining stage: which completions and which sets stay, and the noise that is added."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import Mask
from pairkit.mining import draws, policies
from pairkit.mining.additions import add_noise
from pairkit.mining.flips import flip
from pairkit.mining.noise import KINDS
from pairkit.mining.recipe import MineRecipe
from pairkit.schema import DROPPED, QUARANTINE, SETS, StageResult, quarantine_rows
from pairkit.sets import assemble, batches, best_first, completions, named_scores, numbers

# Counted only with `min_agreement`, because few builds have a panel.
_PANEL = "agreement"
_TIES = ("all_identical", "no_choice")
COUNTS = (
    "sets_in",
    "sets_out",
    "sets_unranked",
    *(f"quarantined_{reason}" for reason in policies.REASONS),
    "completions_in",
    "completions_out",
    "completions_quarantined",
    *(f"dropped_{why}" for why in policies.DROPPED if why != _PANEL),
    *(f"noise_{kind}" for kind in KINDS),
    "noise_impossible",
    "noise_on_tool_calls",
    "flipped",
)


def mine(sets: pa.Table, recipe: MineRecipe, *, seed: int, panel: Sequence[str] = ()) -> StageResult:
    """Apply the recipe to each of `sets`; the result for a set does not depend on the others in the table.

    `panel` has the names of the scores that `min_agreement` compares.

    `counts` has a number for each of `COUNTS`. They add up, within a call and summed over calls:

        sets_in = sets_out + every quarantined_*
        completions_in + noise_token_swap + noise_word_swap + noise_truncate
                = completions_out + completions_quarantined + every dropped_*

    A quarantined set keeps its completions, so `dropped_*` counts those of sets that stay. `sets_unranked`
    counts the sets that stay without a ranked completion, `noise_impossible` the noisy completions that
    could not be made to differ from every other text of their set, `noise_on_tool_calls` those that were
    not made because the chosen completion calls a tool.

    Raises `InputError` for a table that is not one of candidate sets, and `ModelError` where the tokenizer
    of `token_swap` cannot be used.
    """
    # All of them from 0, so that a manifest has the same counts whether they occur or not.
    counts = Counter(dict.fromkeys(COUNTS, 0))
    if recipe.min_agreement is not None:
        counts[f"dropped_{_PANEL}"] = 0
    # With an empty table, because a concatenation needs at least one.
    set_parts, quarantine_parts, dropped_parts = [], [QUARANTINE.empty_table()], [DROPPED.empty_table()]
    for batch in batches(sets):
        staying, quarantine, without = _mine(batch, recipe, seed, panel, counts)
        set_parts.append(staying)
        quarantine_parts.append(quarantine)
        dropped_parts.append(without)
    return StageResult(
        pa.Table.from_batches(set_parts, schema=SETS),
        pa.concat_tables(quarantine_parts),
        dropped=pa.concat_tables(dropped_parts),
        counts=dict(counts),
    )


def _mine(
    batch: pa.RecordBatch, recipe: MineRecipe, seed: int, panel: Sequence[str], counts: Counter[str]
) -> tuple[pa.RecordBatch, pa.Table, pa.Table]:
    pool, set_ids = completions(batch), batch["set_id"].to_pylist()
    frame = policies.drop(_columns(batch, pool, set_ids, recipe, seed, panel), recipe, len(panel))
    verdicts = policies.judge(frame, recipe)
    refusals = verdicts.filter(pl.col("reason").is_not_null())
    # `stays` has one entry per set, `frame` one row per completion.
    stays = np.ones(batch.num_rows, bool)
    stays[refusals["set"].to_numpy()] = False
    staying = frame.filter(pl.Series(stays[frame["set"].to_numpy()]))

    # Before noise is added, because `completions_in` and `dropped_*` are about the source's completions.
    counts.update(_counts(stays, frame, staying, refusals))
    dropped = _dropped(staying, pool, batch["set_id"]) if recipe.record_dropped else DROPPED.empty_table()
    pool, frame, noise_counts = add_noise(staying, pool, set_ids, recipe.noise, seed)
    counts.update(noise_counts)
    rows = frame["row"].to_numpy()
    if recipe.noise.label_flip is not None:
        pool, rows, flipped = flip(frame, pool, set_ids, recipe.noise.label_flip.rate, seed)
        counts["flipped"] += flipped
    counts["completions_out"] += len(rows)
    quarantine = quarantine_rows(
        "mine",
        batch.take(refusals["set"].to_arrow()),
        refusals["reason"].to_list(),
        [_explain(verdict) for verdict in refusals.iter_rows(named=True)],
    )
    return assemble(batch, pool, frame["set"].to_numpy(), rows, stays), quarantine, dropped


def _dropped(staying: pl.DataFrame, pool: pa.StructArray, set_ids: pa.Array) -> pa.Table:
    without = staying.filter(~policies.KEPT).sort("row")
    columns = [
        set_ids.take(without["set"].to_arrow()),
        without["dropped"].to_arrow().cast(pa.string()),
        pool.take(without["row"].to_arrow()),
    ]
    return pa.table(columns, schema=DROPPED)


def _columns(
    batch: pa.RecordBatch,
    pool: pa.StructArray,
    set_ids: Sequence[str],
    recipe: MineRecipe,
    seed: int,
    panel: Sequence[str],
) -> pl.DataFrame:
    frame = numbers(batch, pool)
    texts = {"text": "text", "thought": "reasoning_content", "calls": "tool_calls"}
    frame = frame.with_columns(
        pl.Series(name, pc.struct_field(pool, field), pl.String) for name, field in texts.items()
    )
    if recipe.min_agreement is not None:
        scores = {policies.panel_column(n): named_scores(pool, name) for n, name in enumerate(panel)}
        frame = frame.with_columns(pl.Series(column, values) for column, values in scores.items()).fill_nan(
            None
        )
    # Only where they decide something, because a hash per set takes time.
    if recipe.keep_negatives is not None:
        place = pl.int_range(pl.len()).over("set")
        # The place in its own set, because the place in the batch depends on `unit_rows`.
        owners, places = frame.select("set", place.alias("place")).to_numpy().T
        keys = draws.keys(seed, "keep_negatives", set_ids)
        frame = frame.with_columns(draw=draws.draw(keys[owners], places))
    return best_first(frame)


def _counts(
    stays: Mask, frame: pl.DataFrame, staying: pl.DataFrame, refusals: pl.DataFrame
) -> dict[str, int]:
    with_rank = staying.filter(policies.KEPT & policies.RANKED)["set"].n_unique()
    counts = {
        "sets_in": len(stays),
        "sets_out": int(stays.sum()),
        "sets_unranked": int(stays.sum()) - with_rank,
        "completions_in": len(frame),
        "completions_quarantined": len(frame) - len(staying),
    }
    for column, prefix, of in (("reason", "quarantined", refusals), ("dropped", "dropped", staying)):
        counts |= {f"{prefix}_{name}": n for name, n in of[column].drop_nulls().value_counts().iter_rows()}
    return counts


def _explain(verdict: dict[str, Any]) -> str:
    reasons = [f"{verdict[why]} {why}" for why in policies.DROPPED if verdict[why]]
    dropped = f"; dropped: {', '.join(reasons)}" if reasons else ""
    # With both numbers, because a set may have lost its choice to several rules.
    remainder = f"{verdict['left']} of {verdict['all']} completions left"
    # Whether all are right or all are wrong is in the score alone.
    tied = verdict["lowest"] is not None and verdict["lowest"] == verdict["highest"]
    score = f", of score {verdict['lowest']:g}" if tied and verdict["reason"] in _TIES else ""
    return f"{policies.REASONS[verdict['reason']]} ({remainder}{score}{dropped})"
