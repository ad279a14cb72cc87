"""The completions of a global batch: the preferred one of each set and the negatives drawn for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pairkit.losses import Logps, Loss, WeightedSum, sample_negatives
from pairkit.training.distributed.processes import CPU
from pairkit.training.logprobs.selection import Scored, SetSelection, lengths
from pairkit.training.step.examples import Examples


def draw(
    loss: Loss | WeightedSum,
    settings: Mapping[str, Any],
    usable: Examples,
    seeds: Tensor,
    scores: Scored | None,
) -> tuple[list[SetSelection], Scored | None]:
    """Select the completions to train on: completion 0 of each set and its negatives.

    Args:
        usable: sets with all completions that the loss can use.
        seeds: int64 `[B]`.
        scores: log-probs of all of `usable` under the current policy; None where the draw needs none.

    Returns:
        The selected completions, and their part of `scores`.
    """
    length, mask = lengths(usable.work)  # [B, K] each
    policy = scores.policy if scores else Logps(torch.zeros(mask.shape), length, mask)
    columns = pick(loss, settings, usable, seeds, policy, scores.reference if scores else None)
    work = with_columns(usable.work, columns)
    if scores is None:
        return work, None
    # -1 is at the end of a row only, so that the widest selection holds all that was drawn.
    used_columns = columns[:, : max(len(item.columns) for item in work)]
    reference = scores.reference.columns(used_columns) if scores.reference else None
    return work, Scored(scores.policy.columns(used_columns), reference, None)


def pick(
    loss: Loss | WeightedSum,
    settings: Mapping[str, Any],
    usable: Examples,
    seeds: Tensor,
    policy: Logps,
    reference: Logps | None = None,
) -> Tensor:
    """Pick completion 0 and the negatives: int64 `[B, 1 + most negatives]`, -1 where a row has fewer.

    Args:
        policy, reference: log-probs of all completions, `[B, K]`, nats; the reference's are the precomputed
            ones by default.
    """
    reference = reference or usable.sums(CPU)
    samples = sample_negatives(policy, reference, beta=loss.beta, seeds=seeds, **settings)  # [B, negatives]
    return torch.cat([torch.zeros_like(samples[:, :1]), samples], dim=1)


def with_columns(usable: Sequence[SetSelection], columns: Tensor) -> list[SetSelection]:
    """Select the picked completions of each set, int64 `[B, picked]`; -1 is none."""
    return [
        SetSelection(item.tokens, tuple(column for column in row if column >= 0))
        for item, row in zip(usable, columns.tolist(), strict=True)
    ]


def origins(work: Sequence[SetSelection]) -> Counter[str]:
    """Count the selected negatives by origin: source, generated, noise."""
    return Counter(item.tokens.columns[column].origin for item in work for column in item.columns[1:])


def longest(usable: Sequence[SetSelection], settings: Mapping[str, Any]) -> list[SetSelection]:
    """Select completion 0 and as many others as a draw takes, the longest ones: an upper bound of its tokens.

    A draw with replacement may take the longest one each time.
    """
    selection = []
    for item in usable:
        columns = item.columns[0 if settings["include_chosen"] else 1 :]
        sizes = [len(item.tokens.columns[c].ids) for c in columns]
        longest_first = [columns[i] for i in np.argsort(sizes)[::-1]]
        count = settings["negatives"]
        others = longest_first[:1] * count if settings["replacement"] else longest_first[:count]
        selection.append(SetSelection(item.tokens, (item.columns[0], *others)))
    return selection


def draws(loss: Loss | WeightedSum, settings: Mapping[str, Any], usable: Sequence[SetSelection]) -> bool:
    """Tell whether there is a choice between completions."""
    if loss.completions == "first":
        return False
    if settings["sampling"] == "all":
        return bool(settings["include_chosen"])
    most = max(len(item.columns) for item in usable) - 1  # candidates; where no set has more, all are taken
    return most > settings["negatives"] or bool(settings["include_chosen"] or settings["replacement"])
