"""Which completions of a set a loss can use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

Completion = Mapping[str, Any]  # a row of `schema.COMPLETION`
Wanted = Literal["all", "first", "ranked", "scored", "labeled", "ordered", "ordered_scored", "rated"]
ORDERED = ("ordered", "ordered_scored")


class Unusable(Exception):
    """A set that cannot be used: the reason, and details for a person.

    The reasons are written into refused.jsonl, so that they are part of the file format.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


def choose(completions: Sequence[Completion], wanted: Wanted) -> list[Completion]:
    """Select the completions that a loss needs; see `tokenize.token_batches`. Raises `Unusable`.

    For reward models, "ordered": every one with a rank, ties too, and noise; "ordered_scored": of those, the
    ones that have a score; "rated": every one that has a score.
    """
    if wanted == "all" and completions:  # ranked or not, noise too
        return list(completions)
    if wanted == "rated":
        return _rated(completions)
    if not completions or completions[0]["origin"] == "noise":
        raise Unusable("no_completion", "it has no completion but noise")
    best = completions[0]
    # Completions are sorted best first, so that the first one is the preferred one.
    if wanted == "first" or (wanted == "labeled" and label(completions) is not None):
        return [best]
    alone = len(completions) == 1
    if best["rank"] is None:
        detail = "its only completion has no rank" if alone else "its completions have no ranks"
        raise Unusable("unranked", f"{detail}; {_instead(wanted, completions, 'none')}")
    # Ties are left out, because a loss needs to know which of two is better; noise is below any.
    below = [c for c in completions[1:] if c["origin"] == "noise" or (c["rank"] or 0) > best["rank"]]
    if not below:
        detail = "it has one completion" if alone else "all completions rank equally"
        raise Unusable("no_choice", f"{detail}; {_instead(wanted, completions, 'one only')}")
    if wanted in ORDERED:
        return _ordered(completions, scored=wanted == "ordered_scored")
    if wanted != "scored":
        return [best, *below]
    negatives = [c for c in below if c["score"] is not None]
    if best["score"] is None or not negatives:
        raise Unusable("unscored", "fewer than two completions have a score, which the loss needs")
    return [best, *negatives]


def _instead(wanted: Wanted, completions: Sequence[Completion], requirement: str) -> str:
    """Name a loss that compares no completions and can use these, or what a dataset for this one needs."""
    if wanted not in ORDERED:
        return f"--loss sft needs {requirement}"
    if any(c["score"] is not None for c in completions):
        return "--loss reward_mse learns scores"
    if len(completions) == 1:
        return "build sets of several completions, which the loss compares"
    return "build the dataset with a ranker that tells them apart"


def _rated(completions: Sequence[Completion]) -> list[Completion]:
    candidates = [c for c in completions if c["score"] is not None]
    if not candidates:
        raise Unusable("unscored", "no completion has a score, which the loss needs")
    return candidates


def _ordered(completions: Sequence[Completion], *, scored: bool) -> list[Completion]:
    """Return what is ranked, and noise; the best one ranks above another."""
    candidates = [c for c in completions if c["origin"] == "noise" or c["rank"] is not None]
    if not scored:
        return candidates
    scored_candidates = [c for c in candidates if c["score"] is not None]
    ranks = {c["rank"] for c in scored_candidates}
    if len(ranks) < 2:
        raise Unusable("unscored", "fewer than two completions of different rank have a score")
    return scored_candidates


def label(completions: Sequence[Completion]) -> bool | None:
    """Return the label of a set's only completion, a score of 1 or 0; None for any other set."""
    score = completions[0]["score"]
    return bool(score) if len(completions) == 1 and score in (0, 1) else None
