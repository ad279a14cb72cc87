"""Signs that a policy collapses: an evaluation compared with the first one of the run.

A pairwise loss holds the difference of two log-probs and neither of them: both can fall while the margin
grows, until the model writes repetitions or stray symbols (Pal et al. 2024, arXiv 2402.13228; Xie, Chen and
Yu 2024, Minor DPO, arXiv 2408.09834; "likelihood displacement" in Razin et al. 2024, arXiv 2410.08847). Some
fall is usual and harmless, so the thresholds are wide.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

Numbers = Mapping[str, float | None]  # metrics of an evaluation by name; None is not finite

# Nats per token. The chosen tokens are then, in their geometric mean, a third (1 / e) as likely as at first.
FALL = 1.0
# Bounds of the entropy, as shares of the first evaluation's.
LOW, HIGH = 0.5, 2.0
# Nats per token, required in addition, because the entropy also falls in a model that learns the chosen
# texts, or one answer of many; and in one that is sure of nearly all it writes it may double for no reason.
CHANGE = 0.5


class Sign(NamedTuple):
    """A sign of collapse: its kind, and a sentence with its numbers."""

    kind: str
    message: str


def signs(first: Numbers, now: Numbers) -> Iterator[Sign]:
    """Yield the signs that an evaluation shows, compared with the first one; missing numbers show none."""
    chosen, rejected, margin, entropy = (
        (_number(first, name), _number(now, name))
        for name in ("chosen_logp_per_token", "rejected_logp_per_token", "reward_margin", "entropy")
    )
    if _fall(chosen) > FALL and _fall(rejected) > 0:
        yield Sign(
            "displacement",
            "the chosen completions have become less likely together with the rejected ones: "
            f"{_both(chosen)} and {_both(rejected)} nats per token, reward margin {_both(margin)}; "
            "a lower learning rate, a larger beta or a share of sft (dpo+sft:0.1) holds them up",
        )
    if entropy[1] < LOW * entropy[0] and _fall(chosen) > CHANGE:
        yield Sign(
            "entropy_fell",
            f"the policy has become sure of other texts than the chosen ones: entropy {_both(entropy)} nats, "
            f"chosen {_both(chosen)} nats per token; its samples may repeat themselves",
        )
    if entropy[1] > max(HIGH * entropy[0], entropy[0] + CHANGE):
        yield Sign(
            "entropy_rose",
            f"the policy has come near to chance: entropy {_both(entropy)} nats; "
            "its samples may have lost their form",
        )


def _number(entry: Numbers, name: str) -> float:
    """Return a metric, NaN where it is missing, because no comparison holds for NaN."""
    value = entry.get(name)
    return math.nan if value is None else value


def _fall(pair: tuple[float, float]) -> float:
    return pair[0] - pair[1]


def _both(pair: tuple[float, float]) -> str:
    return " -> ".join(f"{round(number, 3) + 0.0:g}" for number in pair)
