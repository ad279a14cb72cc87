"""Rankers that ask no model, and the order that the recipe's `order` names."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from pairkit.rankers.annotations import rank
from pairkit.rankers.named import keep_own_order, order_by
from pairkit.rankers.table import RANKERS, Ranking
from pairkit.schema import StageResult


def add_scores(sets: pa.Table, *, block: Ranking) -> StageResult:
    """Add the named scores of a ranker that asks no model; `order` decides about rank and score later."""
    compute = RANKERS[block.ranker].compute
    # Rankers with a model are run by `model_stages`.
    assert compute is not None, block.ranker
    result = compute(sets, block)
    return replace(result, sets=keep_own_order(result.sets, sets))


def order(sets: pa.Table, *, by: str, otherwise: str | None = None) -> StageResult:
    """Rank by the named score `by`, best completions first; "annotations" is the source's own order.

    With `otherwise`, sets in which no completion has that score are ranked by this one.
    """
    if otherwise is None:
        return StageResult(rank(sets if by == "annotations" else order_by(sets, by)))
    before = sets if otherwise == "annotations" else order_by(sets, otherwise)
    return StageResult(rank(order_by(before, by, others=True)))
