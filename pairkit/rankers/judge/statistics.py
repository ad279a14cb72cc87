"""How a judge judges, from counts that add up over units: order bias, flips, ties, unreadable answers.

Intervals are Wilson's. They take the questions for independent; those of one set share its texts, so with few
sets of many completions they are somewhat narrow. A list of K is counted as one comparison, that of the
completion shown first with the one shown last.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pairkit.intervals import Interval, wilson

# Key -> what is counted.
COUNTS = {
    "sets": "sets with two completions or more to compare, or one or more to rate",
    "questions": "questions, of which each is asked until its verdict can be read",
    "unanswered": "questions that stayed without a verdict: their sets are in quarantine",
    "answers": "answers",
    "unparsable": "answers that hold no verdict",
    "first_wins": "comparisons that the completion shown first won",
    "second_wins": "comparisons that the completion shown last won",
    "ties": "comparisons that neither won",
    "swapped": "comparisons with a verdict in both orders",
    "same": "of these, with the same verdict in both",
    "flips": "of these, with the other winner",
}


class Rate(NamedTuple):
    """A share: `number` of `of`, with its interval."""

    name: str
    meaning: str
    number: int
    of: int
    share: Interval


def report(counts: Mapping[str, int], *, prefix: str = "", level: float = 0.95) -> list[Rate]:
    """The rates of `COUNTS`, found under `prefix` and its name; shares of nothing are left out.

    `order_bias` is the share of the completion shown first among the comparisons with a winner: 1/2 is none.
    """
    number = {name: counts.get(prefix + name, 0) for name in COUNTS}
    decided = number["first_wins"] + number["second_wins"]
    compared = decided + number["ties"]
    rows = [
        ("parse_failure_rate", "answers without a verdict", "unparsable", number["answers"]),
        ("unanswered_rate", "questions without a verdict", "unanswered", number["questions"]),
        ("order_bias", "won by the one shown first; none: 0.5", "first_wins", decided),
        ("tie_rate", "comparisons without a winner", "ties", compared),
        ("consistency", "the same verdict in both orders", "same", number["swapped"]),
        ("flip_rate", "the other winner in the other order", "flips", number["swapped"]),
    ]
    return [
        Rate(name, meaning, number[count], of, wilson(number[count], of, level=level))
        for name, meaning, count, of in rows
        if of
    ]


def told(manifest: Mapping[str, Any]) -> list[str]:
    """The rates of all judges of a built data set, a line each; its manifest holds their counts."""
    rank = manifest["recipe"]["rank"]
    blocks = rank if isinstance(rank, list) else [rank]
    names = [block.get("name") or block["ranker"] for block in blocks if block["ranker"] == "judge"]
    return [
        f"{name}: {rate.meaning}: {_interval(rate.share)} of {rate.of:,}"
        for name in names
        for rate in report(manifest["counts"].get("rank", {}), prefix=f"{name}_")
    ]


def _interval(share: Interval) -> str:
    return f"{share.mean:.1%} [{share.low:.1%}, {share.high:.1%}]"
