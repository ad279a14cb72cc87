"""How far two judges agree on the answers of one model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pairkit.evaluation.answers import Question
from pairkit.evaluation.arena_hard.games import Game, scored
from pairkit.evaluation.arena_hard.judgments import UNKNOWN, Judgments
from pairkit.evaluation.arena_hard.labels import Version
from pairkit.intervals import wilson


def agreement(
    questions: Sequence[Question], games: Sequence[Game], other: Judgments, version: Version
) -> dict[str, Any]:
    """Compare verdicts with stored ones; what one of the two lacks is left out.

    Prompts are compared by the points of all their battles, games by their labels, which battles of a file
    do not tell.
    """
    ours, theirs = (scored(questions, of, version).points for of in (games, other.games))
    both = ~np.isnan(ours) & ~np.isnan(theirs)
    # Without draws, which are nobody's preference.
    decided = both & (ours != 0.5) & (theirs != 0.5)
    entries: dict[str, Any] = {
        "judge": other.judge or UNKNOWN,
        "prompts": int(both.sum()),
        "decided": int(decided.sum()),
    }
    if decided.any():
        same = int(((ours > 0.5) == (theirs > 0.5))[decided].sum())
        entries["agreement"] = {"number": same, **wilson(same, entries["decided"])._asdict()}
    if both.any():
        entries["mean_difference"] = float((ours - theirs)[both].mean())
    if both.any() and np.ptp(ours[both]) > 0 and np.ptp(theirs[both]) > 0:
        entries["correlation"] = float(np.corrcoef(ours[both], theirs[both])[0, 1])
    return entries | _of_labels(games, other.games)


def _of_labels(games: Sequence[Game], others: Sequence[Game]) -> dict[str, Any]:
    """Return the share of games with the same label, of those that both judges gave one."""
    ours, theirs = (
        {(game.prompt_id, game.game): game.label for game in of if game.game is not None and game.label}
        for of in (games, others)
    )
    common = [(ours[key], theirs[key]) for key in ours if key in theirs]
    if not common:
        return {}
    same = sum(own == other for own, other in common)
    return {"same_label": {"number": same, "of": len(common), **wilson(same, len(common))._asdict()}}
