"""The orders of one or several people as one score per text.

    mean      mean over annotators of (share of the other texts that it is above, ties half)
    majority  share of the other texts that more annotators have it above than below, ties half
              (Copeland 1951)

Both are the same for one annotator: 1 for the best, 0 for the worst, equals level.
"""

from __future__ import annotations

from typing import Literal

import polars as pl

from pairkit.rankers.panel.agreement import count_kinds

Combine = Literal["mean", "majority"]
_DECIMALS = 9  # equal records must tie, and rounding errors must not decide


def scores(orders: pl.DataFrame, combine: Combine) -> pl.DataFrame:
    """Return a row per text: `set`, `hash`, `score`, of the orders: `set`, `annotator`, `hash`, `group`."""
    combined = _majority(orders) if combine == "majority" else _mean(orders)
    return combined.with_columns(pl.col("score").round(_DECIMALS))


def _mean(orders: pl.DataFrame) -> pl.DataFrame:
    by = ["set", "annotator"]
    # The mean rank of equals, from 1 for the worst: those below and half of those level, and itself.
    below = pl.col("group").rank("average", descending=True).over(by) - 1
    others = pl.len().over(by) - 1
    # Alone in its set it has nothing above it.
    place = pl.when(others > 0).then(below / others).otherwise(1.0)
    return (
        orders.with_columns(place=place)
        .group_by("set", "hash", maintain_order=True)
        .agg(score=pl.col("place").mean())
    )


def _majority(orders: pl.DataFrame) -> pl.DataFrame:
    wins = (
        _compared(orders)
        .group_by("set", "hash", "other", maintain_order=True)
        .agg(win=(pl.col("sign").sum().sign() + 1) / 2)
        .group_by("set", "hash", maintain_order=True)
        .agg(score=pl.col("win").mean())
    )
    texts = orders.select("set", "hash").unique(maintain_order=True)
    return texts.join(wins, on=["set", "hash"], how="left").with_columns(pl.col("score").fill_null(1.0))


def _compared(orders: pl.DataFrame) -> pl.DataFrame:
    """Return a row per annotator and ordered pair of texts: 1 where the first is better, 0 where level."""
    return (
        orders.join(orders, on=["set", "annotator"], suffix="_other")
        .filter(pl.col("hash") != pl.col("hash_other"))
        .select(
            "set",
            "annotator",
            "hash",
            pl.col("hash_other").alias("other"),
            (pl.col("group_other") - pl.col("group")).sign().alias("sign"),
        )
    )


def agreement_counts(orders: pl.DataFrame) -> dict[str, int]:
    """Count what each two annotators make of pairs of texts that both have ordered, in counts that add up."""
    pairs = _compared(orders).filter(pl.col("hash") < pl.col("other"))
    both = pairs.join(pairs, on=["set", "hash", "other"], suffix="_second").filter(
        pl.col("annotator") < pl.col("annotator_second")
    )
    numbers = count_kinds(both, "sign", "sign_second")
    return {f"annotators_{name}": number for name, number in numbers.items()}
