"""The mining stage: candidate sets in, candidate sets out, the unusable ones to quarantine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

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
from pairkit.schema import QUARANTINE, SETS, canonical_json, quarantined
from pairkit.sets import assemble, batches, best_first, completions, numbers

COUNTS = (
    "sets_in",
    "sets_out",
    "sets_unranked",
    *(f"quarantined_{reason}" for reason in policies.REASONS),
    "completions_in",
    "completions_out",
    "completions_quarantined",
    *(f"dropped_{why}" for why in policies.DROPPED),
    *(f"noise_{kind}" for kind in KINDS),
    "noise_impossible",
    "flipped",
)


class Mined(NamedTuple):
    """What mining made of some candidate sets.

    `counts` has a number for each of `COUNTS`. They add up, within a call and summed over calls:

        sets_in = sets_out + every quarantined_*
        completions_in + noise_token_swap + noise_word_swap + noise_truncate
                = completions_out + completions_quarantined + every dropped_*

    A quarantined set keeps its completions, so `dropped_*` are those of sets that stay. `sets_unranked` are
    the sets that stay without a ranked completion, `noise_impossible` the noisy completions that could not
    be made to differ from every other text of their set.
    """

    sets: pa.Table
    quarantine: pa.Table
    counts: dict[str, int]


def mine(sets: pa.Table, recipe: MineRecipe, *, seed: int) -> Mined:
    """Applies the recipe to each of `sets`; a set comes out the same whichever others it came in with.

    Raises `InputError` for a table that is not one of candidate sets, and `ModelError` where the tokenizer
    of `token_swap` cannot be used.
    """
    counts = Counter(dict.fromkeys(COUNTS, 0))
    kept, refused = [], [QUARANTINE.empty_table()]
    for batch in batches(sets):
        stay, go = _mine(batch, recipe, seed, counts)
        kept.append(stay)
        refused.append(go)
    return Mined(pa.Table.from_batches(kept, schema=SETS), pa.concat_tables(refused), dict(counts))


def _mine(
    batch: pa.RecordBatch, recipe: MineRecipe, seed: int, counts: Counter[str]
) -> tuple[pa.RecordBatch, pa.Table]:
    pool, set_ids = completions(batch), batch["set_id"].to_pylist()
    frame = policies.drop(_columns(batch, pool, set_ids, recipe, seed), recipe)
    verdicts = policies.judge(frame, recipe)
    go = verdicts.filter(pl.col("reason").is_not_null())
    stays = np.ones(batch.num_rows, bool)
    stays[go["set"].to_numpy()] = False
    stay = frame.filter(pl.Series(stays[frame["set"].to_numpy()]))

    counts.update(_counts(stays, frame, stay, go))
    pool, frame, made = add_noise(stay, pool, set_ids, recipe.noise, seed)
    counts.update(made)
    rows = frame["row"].to_numpy()
    if recipe.noise.label_flip is not None:
        pool, rows, flipped = flip(frame, pool, set_ids, recipe.noise.label_flip.rate, seed)
        counts["flipped"] += flipped
    counts["completions_out"] += len(rows)
    return assemble(batch, pool, frame["set"].to_numpy(), rows, stays), _quarantine(batch, go)


def _columns(
    batch: pa.RecordBatch, pool: pa.StructArray, set_ids: Sequence[str], recipe: MineRecipe, seed: int
) -> pl.DataFrame:
    frame = numbers(batch, pool)
    frame = frame.with_columns(text=pl.Series(pc.struct_field(pool, "text")))
    if recipe.keep_negatives is not None:
        place = pl.int_range(pl.len()).over("set")
        owners, places = frame.select("set", place.alias("place")).to_numpy().T
        keys = draws.keys(seed, "keep_negatives", set_ids)
        frame = frame.with_columns(draw=draws.draw(keys[owners], places))
    return best_first(frame)


def _counts(stays: Mask, frame: pl.DataFrame, stay: pl.DataFrame, go: pl.DataFrame) -> dict[str, int]:
    with_rank = stay.filter(policies.KEPT & policies.RANKED)["set"].n_unique()
    counts = {
        "sets_in": len(stays),
        "sets_out": int(stays.sum()),
        "sets_unranked": int(stays.sum()) - with_rank,
        "completions_in": len(frame),
        "completions_quarantined": len(frame) - len(stay),
    }
    for column, prefix, of in (("reason", "quarantined", go), ("dropped", "dropped", stay)):
        counts |= {f"{prefix}_{name}": n for name, n in of[column].drop_nulls().value_counts().iter_rows()}
    return counts


def _quarantine(batch: pa.RecordBatch, go: pl.DataFrame) -> pa.Table:
    rows = batch.take(go["set"].to_arrow()).to_pylist()
    return quarantined(
        "mine",
        go["reason"].to_list(),
        [canonical_json(row) for row in rows],
        details=[_explain(verdict) for verdict in go.iter_rows(named=True)],
        set_ids=[row["set_id"] for row in rows],
    )


def _explain(verdict: dict[str, Any]) -> str:
    gone = [f"{verdict[why]} {why}" for why in policies.DROPPED if verdict[why]]
    dropped = f"; dropped: {', '.join(gone)}" if gone else ""
    left = f"{verdict['left']} of {verdict['all']} completions left"
    return f"{policies.REASONS[verdict['reason']]} ({left}{dropped})"
