"""How far two judges agree, where they were shown the same answers to the same instruction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pairkit.evaluation.alpaca_eval.annotations import Annotations
from pairkit.intervals import wilson


def agreement(
    points: Mapping[str, float | None], texts: Mapping[str, str], other: Annotations
) -> dict[str, Any]:
    """Return the share of comparisons in which two judges prefer the same answer, and their correlation.

    Args:
        points: prompt_id -> probability that the model wins, by one judge.
        texts: prompt_id -> the model's answer that it was shown.
        other: the verdicts of the other judge, against the same reference.
    """
    pairs = [
        (own, theirs)
        for key, own in points.items()
        if own is not None
        and (theirs := other.points.get(key)) is not None
        and other.answers[key] == texts.get(key)
    ]
    # Without draws, which are nobody's preference.
    matches = [(own > 0.5) == (theirs > 0.5) for own, theirs in pairs if 0.5 not in (own, theirs)]
    entries: dict[str, Any] = {"judge": other.judge, "same_answers": len(pairs), "decided": len(matches)}
    if matches:
        entries["agreement"] = wilson(sum(matches), len(matches))._asdict()
    if len(pairs) > 1 and all(np.std(side) > 0 for side in zip(*pairs, strict=True)):
        entries["correlation"] = float(np.corrcoef(np.array(pairs).T)[0, 1])
    return entries
