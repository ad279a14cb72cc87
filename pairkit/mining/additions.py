"""Add noisy completions to their sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import structs
from pairkit.mining.noise import Noise, make
from pairkit.mining.policies import KEPT
from pairkit.mining.recipe import NoiseRecipe
from pairkit.schema import COMPLETION


class Added(NamedTuple):
    """All completions followed by the noise; the remaining ones, each set's noise last; counts."""

    pool: pa.StructArray
    frame: pl.DataFrame
    counts: Counter[str]


def add_noise(
    frame: pl.DataFrame, pool: pa.StructArray, set_ids: Sequence[str], recipe: NoiseRecipe, seed: int
) -> Added:
    """Make noise of the chosen text of each ranked set in `frame` (all completions, best first).

    It differs from every text that stays in the set and from every one that was dropped. A chosen completion
    that calls a tool gives none: words exchanged next to a call would not be a hard negative.
    """
    remaining = frame.filter(KEPT)
    if recipe.token_swap is None and recipe.word_swap is None and recipe.truncate is None:
        return Added(pool, remaining, Counter())
    # One row per ranked set; `best[noise.owners]` below has one per noisy completion.
    best = remaining.filter(pl.col("row") == pl.col("best_row"))
    calling = best["calls"].is_not_null()
    best = best.filter(~calling)
    # From `frame` and not `remaining`, because a text that was dropped must not return as noise.
    texts = frame.filter(pl.col("best_row").is_not_null() & pl.col("set").is_in(best["set"].implode()))
    present = texts.group_by("set", maintain_order=True).agg("text")
    noise = make(
        [set_ids[index] for index in best["set"]],
        best["text"].to_list(),
        [set(texts) for texts in present["text"].to_list()],
        recipe,
        seed,
    )
    chosen = best[noise.owners]
    noise_rows = chosen.with_columns(
        row=pl.int_range(len(pool), len(pool) + len(chosen), eager=True),
        noise=pl.lit(True),
        # No rank, because noise is below every ranked completion by what it is, see `NEGATIVE`.
        rank=pl.lit(None, pl.Int32),
        score=pl.lit(None, pl.Float64),
    )
    counts = Counter(f"noise_{kind}" for kind in noise.kinds)
    counts["noise_impossible"] = noise.impossible
    kinds = (recipe.token_swap, recipe.word_swap, recipe.truncate)
    counts["noise_on_tool_calls"] = int(calling.sum()) * sum(kind.count for kind in kinds if kind)
    return Added(
        pa.concat_arrays([pool, _completions(noise, pool, chosen["row"])]),
        # A stable sort, so that each set's noise stays last.
        pl.concat([remaining, noise_rows]).sort("set", maintain_order=True),
        counts,
    )


def _completions(noise: Noise, pool: pa.StructArray, chosen: pl.Series) -> pa.StructArray:
    count = len(chosen)
    endings, thoughts = (
        pc.take(pc.struct_field(pool, name), chosen.to_arrow())
        for name in ("finish_reason", "reasoning_content")
    )
    is_cut = pa.array([kind == "truncate" for kind in noise.kinds], pa.bool_())
    return structs(
        COMPLETION,
        count,
        text=pa.array(noise.texts, pa.string()),
        model=pa.array([f"noise:{kind}" for kind in noise.kinds], pa.string()),
        origin=pa.array(["noise"] * count, pa.string()),
        # A text cut by max_tokens stays so with words exchanged; our own cut imitates an early end.
        finish_reason=pc.if_else(is_cut, None, endings),
        # The thought as it is: only the answer is noisy.
        reasoning_content=thoughts,
        scores=pa.array([[]] * count, COMPLETION.field("scores").type),
    )
