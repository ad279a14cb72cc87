"""Signs that a policy collapses: an evaluation beside the first one of the run.

A pairwise loss holds the difference of two log-probs and neither of them: both can fall while the margin
grows, until the model writes repetitions or stray symbols (Pal et al. 2024, arXiv 2402.13228; Xie, Chen and
Yu 2024, Minor DPO, arXiv 2408.09834; "likelihood displacement" in Razin et al. 2024, arXiv 2410.08847). Some
fall is usual and harmless, so the thresholds are wide.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

Numbers = Mapping[str, float | None]  # an evaluation by the names of its metrics; None is no number

# Nats a token. The chosen tokens are then, in their geometric mean, a third (1 / e) as likely as they were.
FALL = 1.0
# The band of the entropy, as shares of the first one's.
LOW, HIGH = 0.5, 2.0
# Nats a token. A model that learns the chosen texts, or one answer of many, grows sure too; and of one that
# is sure of nearly all that it writes, the entropy may double and say nothing. With either goes this change.
CHANGE = 0.5


class Warned(NamedTuple):
    """A sign of collapse: what kind, and a sentence with its numbers."""

    kind: str
    says: str


def signs(first: Numbers, now: Numbers) -> Iterator[Warned]:
    """What an evaluation shows beside the first one; numbers that are missing show nothing."""
    chosen, rejected, margin, entropy = (
        (_number(first, name), _number(now, name))
        for name in ("chosen_logp_per_token", "rejected_logp_per_token", "reward_margin", "entropy")
    )
    if _fall(chosen) > FALL and _fall(rejected) > 0:
        yield Warned(
            "displacement",
            "the chosen completions have become less likely together with the rejected ones: "
            f"{_both(chosen)} and {_both(rejected)} nats a token, reward margin {_both(margin)}; "
            "a lower learning rate, a larger beta or a share of sft (dpo+sft:0.1) holds them up",
        )
    if entropy[1] < LOW * entropy[0] and _fall(chosen) > CHANGE:
        yield Warned(
            "entropy_fell",
            f"the policy has become sure of other texts than the chosen ones: entropy {_both(entropy)} nats, "
            f"chosen {_both(chosen)} nats a token; its samples may repeat themselves",
        )
    if entropy[1] > max(HIGH * entropy[0], entropy[0] + CHANGE):
        yield Warned(
            "entropy_rose",
            f"the policy has come near to chance: entropy {_both(entropy)} nats; "
            "its samples may have lost their form",
        )


def _number(entry: Numbers, name: str) -> float:
    """NaN where it is missing, which no comparison holds for."""
    value = entry.get(name)
    return math.nan if value is None else value


def _fall(pair: tuple[float, float]) -> float:
    return pair[0] - pair[1]


def _both(pair: tuple[float, float]) -> str:
    return " -> ".join(f"{round(number, 3) + 0.0:g}" for number in pair)
