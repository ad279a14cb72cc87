"""Weights of the terms of a loss over the whole batch, and a micro-batch's share of the objective by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from pairkit.losses import Logps, Loss, Term, WeightedSum
from pairkit.training.logprobs.selection import SetSelection, lengths
from pairkit.training.step.objective import Observed, apply, inputs


def term_weights(
    loss: Loss | WeightedSum, work: Sequence[SetSelection], blank: Logps, observations: Observed
) -> list[float]:
    """Sum each term's weights over these sets.

    Weights depend on lengths, masks and observations alone, so those of the whole global batch are known
    before its first gradient pass, and every micro-batch can be normalized by them.

    Args:
        blank: `Logps` of `work` with the right lengths and mask, whatever its sums.
    """
    # Zeros for all that a loss may read: whatever it computes from them, the weights are the same.
    zeros = torch.zeros_like(blank.sum)
    logps = replace(blank, sum=zeros, token_kl=zeros, alignment=zeros, head_sum=zeros)
    # The same zeros, because a loss that needs a reference refuses to run without one.
    reference = logps if "reference" in loss.needs else None
    outcome = apply(loss, inputs(work, logps, reference), [grids or {} for grids in observations])
    return [float(term.weights.sum()) for term in outcome.terms]


def fixed_weights(
    loss: Loss | WeightedSum, work: Sequence[SetSelection], observations: Observed
) -> list[float] | None:
    """Return `term_weights` if they do not depend on the lengths of the negatives, None if they do.

    They are computed twice, with lengths that differ: the losses themselves tell, user-defined ones too.
    """
    length, mask = lengths(work)
    # Only negatives become longer: completion 0 is the same whatever is drawn.
    # 2n + 1 and not 2n, because a ratio of two negatives' lengths has to change too.
    longer = torch.cat([length[:, :1], 2 * length[:, 1:] + 1], dim=1)
    zeros = torch.zeros(mask.shape)
    weights, others = (
        term_weights(loss, work, Logps(zeros, n, mask), observations) for n in (length, longer)
    )
    return weights if weights == others else None  # exactly: equal inputs round alike


def total(terms: Sequence[Term], weights: Sequence[float]) -> Tensor:
    """Reduce one micro-batch to a scalar, nats: its share of the objective of the global batch.

    Args:
        weights: those of the terms over the whole batch, so that the scalars of its micro-batches add up to
            the objective. A weight of 0 has only zeros to divide.
    """
    parts = [
        term.coefficient * term.values.sum() / (weight or 1.0)
        for term, weight in zip(terms, weights, strict=True)
    ]
    return torch.stack(parts).sum()
