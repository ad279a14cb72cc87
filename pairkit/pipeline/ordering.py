"""Rankers that ask no model, and the order that the recipe's `order` names."""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa

from pairkit.pipeline.recipe import BuildRecipe
from pairkit.rankers import annotations as annotated
from pairkit.rankers.named import keep_own_order, order_by
from pairkit.rankers.verifier import verify
from pairkit.schema import QUARANTINE


class Ranked(NamedTuple):
    """Sets with ranks, best first, those that cannot be ranked, and counts."""

    sets: pa.Table
    quarantine: pa.Table
    counts: dict[str, int]


def rank(sets: pa.Table, recipe: BuildRecipe) -> Ranked:
    """Runs the rankers that ask nobody and ranks by the score that the recipe's `order` names."""
    quarantine, counts = QUARANTINE.empty_table(), {}
    own = sets
    for block in recipe.rankings:
        if block.ranker == "verifier":
            verified = verify(sets, block)
            sets, quarantine, counts = verified.sets, verified.quarantine, verified.counts
    if recipe.orders_by == "annotations":
        sets = keep_own_order(sets, own)
    else:
        sets = order_by(sets, recipe.orders_by)
    return Ranked(annotated.rank(sets), quarantine, counts)
