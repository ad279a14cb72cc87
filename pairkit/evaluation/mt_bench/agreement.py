"""How far the ratings of two judges of the same answers agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pairkit.evaluation.mt_bench.judgments import Judgments
from pairkit.evaluation.results import Verdict
from pairkit.intervals import wilson


def agreement(verdicts: Sequence[Verdict], other: Judgments) -> dict[str, Any]:
    """Compare ratings with stored ones, turn by turn; those that one of the two lacks are left out."""
    pairs = []
    for verdict in verdicts:
        judgment = other.by_turn.get((verdict.prompt_id, verdict.turn))
        if verdict.points is not None and judgment is not None and judgment.rating is not None:
            pairs.append((verdict.points, judgment.rating))
    result: dict[str, Any] = {"judge": other.judge, "ratings": len(pairs)}
    if not pairs:
        return result
    ours, theirs = np.array(pairs).T
    same = int((ours == theirs).sum())
    result |= {
        "equal": {"number": same, **wilson(same, len(pairs))._asdict()},
        "within_1": {
            "number": (near := int((np.abs(ours - theirs) <= 1).sum())),
            **wilson(near, len(pairs))._asdict(),
        },
        "mean_difference": float((ours - theirs).mean()),
        "mean_absolute_difference": float(np.abs(ours - theirs).mean()),
    }
    return result
