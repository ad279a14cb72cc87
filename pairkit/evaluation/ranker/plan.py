"""What an evaluation of rankers would ask or compute, before a model is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pairkit.evaluation.judge.plan import plan_judge
from pairkit.evaluation.plan import Planned, Rehearsal
from pairkit.evaluation.ranker.scoring import UNIT
from pairkit.rankers.pairrm.schedules import comparisons
from pairkit.rankers.shown import shown_texts


def plan_rankers(
    rankers: Mapping[str, Any], sets: pa.Table, running: Rehearsal, seed: int
) -> tuple[dict[str, Planned], dict[str, int]]:
    """Return the calls of each judge, and the passes of each model that runs here."""
    calls: dict[str, Planned] = {}
    passes: dict[str, int] = {}
    for name, block in rankers.items():
        if block.ranker == "judge":
            calls[name] = plan_judge(block, sets, running, seed, UNIT)
        elif block.ranker == "pairrm":
            distinct = [len(set(texts)) for texts in _texts(sets, block)]
            # Both orders of each.
            passes[name] = sum(2 * comparisons(block.pairs, number) for number in distinct)
        elif block.ranker == "reward_model":
            passes[name] = pc.sum(pc.list_value_length(sets["completions"])).as_py()
    return calls, passes


def _texts(sets: pa.Table, block: Any) -> list[list[str]]:
    texts = iter(shown_texts(pc.list_flatten(sets["completions"]).combine_chunks(), block.thoughts))
    return [
        [next(texts) for _ in range(size)] for size in pc.list_value_length(sets["completions"]).to_pylist()
    ]
