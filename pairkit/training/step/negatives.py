"""The columns of a global batch: the preferred completion and the negatives drawn for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pairkit.losses import Logps, Loss, WeightedSum, sample_negatives
from pairkit.losses.sampling import NEEDS_POLICY
from pairkit.training.distributed.processes import CPU
from pairkit.training.logprobs.selection import Scored, SetSelection, lengths
from pairkit.training.step.examples import Examples

Score = Callable[
    [Sequence[SetSelection]], Scored
]  # a scoring pass of these columns under the present weights


def draw(
    loss: Loss | WeightedSum, settings: Mapping[str, Any], every: Examples, seeds: Tensor, score: Score
) -> tuple[list[SetSelection], Scored | None]:
    """The columns that the gradient pass takes, drawn under the model's present weights.

    Args:
        every: sets with the columns that there are to draw from; column 0 is taken in any case.
        seeds: int64 [sets].

    Returns:
        The columns, and their log-probs where the draw had to know them: all completions are scored only
        where it depends on the policy.
    """
    if not draws(loss, settings, every.work):
        return every.work, None
    scored = score(every.work) if settings["sampling"] in NEEDS_POLICY else None
    length, mask = lengths(every.work)
    policy = scored.policy if scored else Logps(torch.zeros(mask.shape), length, mask)
    columns = pick(loss, settings, every, seeds, policy, scored.reference if scored else None)
    work = taken(every.work, columns)
    if scored is None:
        return work, None
    drawn = columns[:, : max(len(item.columns) for item in work)]  # -1 stands at the end of a row only
    reference = scored.reference.columns(drawn) if scored.reference else None
    return work, Scored(scored.policy.columns(drawn), reference, None)


def pick(
    loss: Loss | WeightedSum,
    settings: Mapping[str, Any],
    every: Examples,
    seeds: Tensor,
    policy: Logps,
    reference: Logps | None = None,
) -> Tensor:
    """int64 [sets, 1 + most negatives]: column 0 and the drawn ones, -1 where there are no more.

    Args:
        policy, reference: log-probs of all columns; the reference's are the known ones by default.
    """
    known = reference or replace(every, heads=None).known(CPU)
    drawn = sample_negatives(policy, known, beta=loss.beta, seeds=seeds, **settings)
    return torch.cat([torch.zeros_like(drawn[:, :1]), drawn], dim=1)


def taken(every: Sequence[SetSelection], columns: Tensor) -> list[SetSelection]:
    """The sets with the columns that were picked."""
    return [
        SetSelection(item.tokens, tuple(column for column in row if column >= 0))
        for item, row in zip(every, columns.tolist(), strict=True)
    ]


def origins(work: Sequence[SetSelection]) -> Counter[str]:
    """How many of the drawn negatives came from where: source, generated, noise."""
    return Counter(item.tokens.columns[column].origin for item in work for column in item.columns[1:])


def longest(every: Sequence[SetSelection], settings: Mapping[str, Any]) -> list[SetSelection]:
    """Column 0 and as many others as a draw takes, the longest ones: the most tokens that it can take."""
    found = []
    for item in every:
        columns = item.columns[0 if settings["include_chosen"] else 1 :]
        sizes = [len(item.tokens.columns[c].ids) for c in columns]
        longest_first = [columns[i] for i in np.argsort(sizes)[::-1]]
        count = settings["negatives"]
        others = longest_first[:1] * count if settings["replacement"] else longest_first[:count]
        found.append(SetSelection(item.tokens, (item.columns[0], *others)))
    return found


def draws(loss: Loss | WeightedSum, settings: Mapping[str, Any], every: Sequence[SetSelection]) -> bool:
    """Whether there is a choice between columns."""
    if loss.completions == "first":
        return False
    if settings["sampling"] == "all":
        return bool(settings["include_chosen"])
    most = max(len(item.columns) for item in every) - 1
    return most > settings["negatives"] or bool(settings["include_chosen"] or settings["replacement"])
