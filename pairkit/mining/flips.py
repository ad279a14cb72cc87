"""Label noise: in some sets the chosen completion and the next best one exchange places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import with_fields
from pairkit.mining import draws
from pairkit.mining.policies import NEGATIVE
from pairkit.schema import SCORES
from pairkit.sets import Indices


class Flipped(NamedTuple):
    """The `rows` of the new `pool`, in the order of the frame, and the number of flipped sets."""

    pool: pa.StructArray
    rows: Indices
    flipped: int


def flip(
    frame: pl.DataFrame, pool: pa.StructArray, set_ids: Sequence[str], rate: float, seed: int
) -> Flipped:
    """Flip a `rate` of the sets in `frame` (remaining completions, best first; `row` indexes `pool`).

    The two exchange place, rank and score; the original values stay in `scores` as `original_rank` and
    `original_score`. Noise is never promoted, so a set with no other negative does not change.
    """
    # One row per set that has both; `chosen`, `lower` and the keys have its length.
    pairs = (
        frame.group_by("set", maintain_order=True)
        .agg(pl.col("best_row").first(), lower=pl.col("row").filter(NEGATIVE & ~pl.col("noise")).first())
        .drop_nulls()
    )
    keys = draws.keys(seed, "label_flip", [set_ids[index] for index in pairs["set"]])
    pairs = pairs.filter(draws.uniform(draws.draw(keys)) < rate)
    chosen, lower = pairs["best_row"].to_numpy(), pairs["lower"].to_numpy()
    replacements = _relabel(pool, np.concatenate([chosen, lower]), np.concatenate([lower, chosen]))
    place = np.arange(len(pool))
    # A flipped completion takes its partner's place: `place` has one entry per row of the old pool.
    place[lower] = len(pool) + np.arange(len(chosen))
    place[chosen] = place[lower] + len(chosen)
    return Flipped(pa.concat_arrays([pool, replacements]), place[frame["row"].to_numpy()], len(chosen))


def _relabel(pool: pa.StructArray, rows: Indices, partners: Indices) -> pa.StructArray:
    own, other = pc.take(pool, pa.array(rows)), pa.array(partners)
    labels = {name: pc.take(pc.struct_field(pool, name), other) for name in ("rank", "score")}
    return with_fields(own, **labels, scores=_keep_originals(own))


def _keep_originals(completions: pa.StructArray) -> pa.Array:
    # A loop, because Arrow has no kernel that merges lists, and few sets are flipped.
    fields = (pc.struct_field(completions, name).to_pylist() for name in ("rank", "score", "scores"))
    score_lists = []
    for rank, score, scores in zip(*fields, strict=True):
        originals = {"original_rank": rank, "original_score": score}
        numbers = {name: value for name, value in originals.items() if value is not None}
        numbers |= {entry["name"]: entry["value"] for entry in scores or ()}
        # Sorted by name, as all scores are.
        score_lists.append([{"name": name, "value": numbers[name]} for name in sorted(numbers)])
    return pa.array(score_lists, SCORES)
