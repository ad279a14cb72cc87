"""From log-probs of sets to the number that is minimised, and to the numbers that are logged."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pairkit.losses import Logps, Loss, LossOutput


def apply(loss: Loss, policy: Logps, reference: Logps | None) -> tuple[LossOutput, Tensor]:
    """The loss on sets whose column 0 is preferred and whose other columns are its negatives.

    A pairwise loss takes every (chosen, negative) pair as an example of its own; a loss on one completion
    takes column 0.

    Returns:
        The loss's output, and the reward margins of all (chosen, negative) pairs, [pairs].
    """
    if loss.spec.completions == "first":
        first = torch.zeros(len(policy.sum), 1, dtype=torch.int64, device=policy.sum.device)
        return loss(policy.columns(first), reference and reference.columns(first)), policy.sum.new_zeros(0)
    if loss.spec.completions == "pair":
        result = loss(as_pairs(policy), reference and as_pairs(reference))
        return result, result.rewards[:, 0] - result.rewards[:, 1]
    result = loss(policy, reference)
    margins = result.rewards[:, :1] - result.rewards[:, 1:]
    return result, margins[policy.mask[:, 1:]]


def as_pairs(logps: Logps) -> Logps:
    """[pairs, 2]: column 0 of each set beside each of its other columns that is not masked."""
    owner, negative = logps.mask[:, 1:].nonzero(as_tuple=True)
    pairs = torch.stack([torch.zeros_like(negative), negative + 1], dim=1)
    return logps.rows(owner).columns(pairs)


def term_weights(loss: Loss, length: Tensor, mask: Tensor) -> list[float]:
    """The sum of each term's weights over these sets.

    Weights depend on lengths and masks alone, so those of the whole global batch are known before its first
    pass, and every micro-batch can be normalised by them.
    """
    blank = Logps(torch.zeros(length.shape), length.cpu(), mask.cpu())
    result, _ = apply(loss, blank, blank if "reference" in loss.needs else None)
    return [float(term.weights.sum()) for term in result.terms]


def total(result: LossOutput, weights: Sequence[float]) -> Tensor:
    """The scalar of one micro-batch: its share of the objective of the batch with these term weights."""
    parts = [
        term.coefficient * term.values.sum() / weight
        for term, weight in zip(result.terms, weights, strict=True)
    ]
    return torch.stack(parts).sum()


class Averages:
    """Means over a batch that comes in parts: each is a sum and a count."""

    def __init__(self) -> None:
        self._sums: dict[str, list[float]] = {}

    def add(self, name: str, values: Tensor) -> None:
        """Adds every element of `values` to the mean `name`."""
        entry = self._sums.setdefault(name, [0.0, 0.0])
        entry[0] += float(values.double().sum())
        entry[1] += values.numel()

    def add_pass(self, policy: Logps, margins: Tensor) -> None:
        """Adds what is reported of every pass: rewards and summed log-probs."""
        chosen, rejected = policy.sum[:, 0].detach(), policy.sum[:, 1:][policy.mask[:, 1:]].detach()
        self.add("chosen_logp", chosen)
        if len(margins):
            self.add("rejected_logp", rejected)
            self.add("reward_margin", margins)
            # A margin of exactly 0 (policy equal to reference) is neither right nor wrong.
            self.add("reward_accuracy", (margins > 0).double() + 0.5 * (margins == 0).double())

    def means(self) -> dict[str, float]:
        """Every mean; a name that got no element is left out."""
        return {name: total / count for name, (total, count) in self._sums.items() if count}
