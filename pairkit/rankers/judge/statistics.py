"""How a judge behaves, from counts that add up over units: order bias, flips, ties, parse failures.

Intervals are Wilson's. They assume independent questions; the questions about one set share its texts, so
with few sets of many completions the intervals are somewhat too narrow. A list of K counts as one comparison:
the completion shown first against the one shown last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pairkit.intervals import Interval, wilson

# Key -> meaning.
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


# A judge that reads the texts flips less often, and prefers a place less often for certain.
_FLIPS, _BIAS = 0.5, 0.8


class Rate(NamedTuple):
    """The share `number` of `of`, with its interval."""

    name: str
    meaning: str
    number: int
    of: int
    share: Interval


def rates_by_name(rates: Iterable[Rate]) -> dict[str, Any]:
    """Return rates as results.json has them: name -> number, of, and the share with its interval."""
    return {rate.name: {"number": rate.number, "of": rate.of, **rate.share._asdict()} for rate in rates}


def judge_rates(counts: Mapping[str, int], *, prefix: str = "", level: float = 0.95) -> list[Rate]:
    """Compute the rates of a judge from its counts, whose keys begin with `prefix`; leave out shares of zero.

    `order_bias` is the share of comparisons with a winner that the completion shown first won: 1/2 means no
    bias.
    """
    number = {name: counts.get(prefix + name, 0) for name in COUNTS}
    # Without ties, because a tie shows no preference for a place.
    decisions = number["first_wins"] + number["second_wins"]
    comparisons = decisions + number["ties"]
    rows = [
        ("parse_failure_rate", "answers without a verdict", "unparsable", number["answers"]),
        ("unanswered_rate", "questions without a verdict", "unanswered", number["questions"]),
        ("order_bias", "won by the one shown first; none: 0.5", "first_wins", decisions),
        ("tie_rate", "comparisons without a winner", "ties", comparisons),
        ("consistency", "the same verdict in both orders", "same", number["swapped"]),
        ("flip_rate", "the other winner in the other order", "flips", number["swapped"]),
    ]
    return [
        Rate(name, meaning, number[count], of, wilson(number[count], of, level=level))
        for name, meaning, count, of in rows
        # A rate of nothing is left out, because 0 of 0 is no share.
        if of
    ]


def summarize_judge(name: str, counts: Mapping[str, int], *, prefix: str = "") -> str:
    """Write the rates of a judge in one line, for an error; "" for a judge that was asked nothing."""
    rates = judge_rates(counts, prefix=prefix)
    if not rates:
        return ""
    shares = ", ".join(
        f"{rate.name} {rate.share.mean:.2f} ({rate.number:,} of {rate.of:,})" for rate in rates
    )
    placed = any(
        (rate.name == "flip_rate" and rate.share.mean > _FLIPS)
        or (rate.name == "order_bias" and (rate.share.low > _BIAS or rate.share.high < 1 - _BIAS))
        for rate in rates
    )
    advice = ": it follows the place of an answer more than its text, so use another judge or prompt"
    return f"{name}: {shares}{advice if placed else ''}"


def describe_judges(manifest: Mapping[str, Any]) -> list[str]:
    """Describe the judges of a built dataset, one line per rate, from the counts in its manifest."""
    rank = manifest["recipe"]["rank"]
    blocks = rank if isinstance(rank, list) else [rank]
    # By name, because several judges count side by side.
    names = [block.get("name") or block["ranker"] for block in blocks if block["ranker"] == "judge"]
    return [
        f"{name}: {rate.meaning}: {_interval(rate.share)} of {rate.of:,}"
        for name in names
        for rate in judge_rates(manifest["counts"].get("rank", {}), prefix=f"{name}_")
    ]


def _interval(share: Interval) -> str:
    return f"{share.mean:.1%} [{share.low:.1%}, {share.high:.1%}]"
