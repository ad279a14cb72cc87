"""How far the rankers of a panel agree about pairs of completions, in counts that add up over units.

A pair of completions of a set is one comparison: each ranker has one of the two higher, or both level.
Counted are the pairs that all rankers have scored. Which completion of a pair comes first means nothing, so
that each pair counts in both directions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl

from pairkit.intervals import wilson
from pairkit.rankers.panel.alpha import alpha_of

PAIRS = "panel_pairs"
# What two rankers make of a pair of completions, in this order.
KINDS = ("same", "level", "one_level", "opposite")


def key(first: str, second: str, kind: str) -> str:
    """Return the name of a count."""
    return f"panel_{first}_{second}_{kind}"


def count_agreement(signs: pl.DataFrame) -> dict[str, int]:
    """Count what each two rankers make of pairs: `signs` has a row per pair, and 1, 0 or -1 per ranker."""
    counts = {PAIRS: signs.height}
    for first, second in combinations(signs.columns, 2):
        numbers = count_kinds(signs, first, second)
        counts |= {key(first, second, kind): number for kind, number in numbers.items()}
    return counts


def count_kinds(pairs: pl.DataFrame, first: str, second: str) -> dict[str, int]:
    """Count the pairs of each of `KINDS`: two columns have 1, 0 or -1 per pair."""
    product = pl.col(first) * pl.col(second)
    level = (pl.col(first) == 0) & (pl.col(second) == 0)
    kinds = (product == 1, level, (product == 0) & ~level, product == -1)
    numbers = pairs.select(kind.sum().alias(name) for name, kind in zip(KINDS, kinds, strict=True)).row(0)
    return {name: int(number) for name, number in zip(KINDS, numbers, strict=True)}


def panel_alpha(names: Sequence[str], counts: Mapping[str, int]) -> float:
    """Return Krippendorff's alpha of a panel about pairs, NaN where it is not defined.

    The values are -1, 0 and 1, at the level of intervals: a tie is halfway between the two orders.
    """
    matrix = np.zeros((3, 3))
    for first, second in combinations(names, 2):
        same, level, one_level, opposite = (counts.get(key(first, second, kind), 0) for kind in KINDS)
        # Both orders of the two rankers, and both of the two completions.
        matrix += np.array(
            [
                [2 * same, one_level, 2 * opposite],
                [one_level, 4 * level, one_level],
                [2 * opposite, one_level, 2 * same],
            ]
        )
    return alpha_of(np.array([-1.0, 0.0, 1.0]), matrix / (len(names) - 1), "interval")


def describe_panel(manifest: Mapping[str, Any]) -> list[str]:
    """Describe the agreement of a built dataset's panel, a line each; none without a panel."""
    names, counts = manifest["recipe"].get("panel") or (), manifest["counts"].get("rank", {})
    pairs = counts.get(PAIRS, 0)
    if not names or not pairs:
        return []
    alpha = panel_alpha(names, counts)
    alpha_text = "not defined, because no ranker prefers any" if np.isnan(alpha) else f"{alpha:.3f}"
    lines = [
        f"panel of {', '.join(names)}: Krippendorff's alpha {alpha_text}, of {pairs:,} pairs of completions "
        "(1: always the same order, 0: as by chance)"
    ]
    for first, second in combinations(names, 2):
        same, level, _, opposite = (counts.get(key(first, second, kind), 0) for kind in KINDS)
        agreement, opposition = wilson(same + level, pairs), wilson(opposite, pairs)
        lines.append(
            f"{first} and {second}: agree on {agreement.mean:.1%} [{agreement.low:.1%}, "
            f"{agreement.high:.1%}] of the pairs, opposite on {opposition.mean:.1%}"
        )
    return lines
