"""What every loss takes and returns.

Shapes: B candidate sets of K completions; column 0 is the preferred completion. Log-probs are natural
logarithms (nats), float32 or better.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True)
class Logps:
    """Per-completion statistics of one model on B candidate sets of K completions.

    Attributes:
        sum: [B, K], summed over completion tokens of log p, nats, float32 or float64.
        length: int [B, K], completion tokens scored, the end-of-turn token included.
        mask: bool [B, K], False where a set has fewer than K completions.
        token_kl: [B, K] or None, summed over completion tokens of KL(reference || policy).
        alignment: [B, K] or None, mean over tokens of log p(y_t) - log sum_v p(v)^2.
        head_sum: [B, K] or None, sum over the first min(|column 0|, |column j|) tokens of column j; of pairs,
            over the first min(|chosen|, |rejected|) tokens of both.
        chosen_head: [B, K] or None, sum over as many tokens of column 0: what column 0's `head_sum` is in
            the pair that it makes with column j.

    Raises:
        ValueError: shapes that differ, log-probs that are not float32 or float64, a mask that is not bool.
    """

    sum: Tensor
    length: Tensor
    mask: Tensor
    token_kl: Tensor | None = None
    alignment: Tensor | None = None
    head_sum: Tensor | None = None
    chosen_head: Tensor | None = None

    def __post_init__(self) -> None:
        if self.sum.ndim != 2:
            raise ValueError(f"Logps.sum is [sets, completions], got shape {tuple(self.sum.shape)}")
        if self.sum.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"Logps.sum is float32 or float64, got {self.sum.dtype}")
        if self.mask.dtype != torch.bool:
            raise ValueError(f"Logps.mask is bool, got {self.mask.dtype}")
        for name, value in self.tensors().items():
            if value.shape != self.sum.shape:
                raise ValueError(
                    f"Logps.{name} has shape {tuple(value.shape)}, sum has {tuple(self.sum.shape)}"
                )

    def tensors(self) -> dict[str, Tensor]:
        """The fields that are there, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def mean(self) -> Tensor:
        """[B, K], mean over completion tokens of log p; 0 for a completion without tokens."""
        return self.sum / self.length.clamp(min=1)

    def rows(self, index: Tensor) -> Logps:
        """The sets `index` ([R], int64), in that order; one may be named more than once."""
        return replace(self, **{name: value[index] for name, value in self.tensors().items()})

    def columns(self, index: Tensor) -> Logps:
        """The completions `index` ([B, C], int64; -1 gives a masked column) of each set."""
        picked = {name: value.gather(1, index.clamp(min=0)) for name, value in self.tensors().items()}
        return replace(self, **(picked | {"mask": picked["mask"] & (index >= 0)}))

    def paired(self) -> Logps:
        """With the heads of pairs where pairs ([B, 2]) were picked from sets."""
        if self.head_sum is None or self.chosen_head is None or self.sum.shape[1] != 2:
            return self
        heads = torch.stack([self.chosen_head[:, 1], self.head_sum[:, 1]], dim=1)
        return replace(self, head_sum=heads, chosen_head=None)

    def detach(self) -> Logps:
        """The same numbers without gradient."""
        return replace(self, **{name: value.detach() for name, value in self.tensors().items()})


@dataclass(frozen=True)
class Extras:
    """What only some losses need; each names in the table's `needs` which.

    Attributes:
        ranks: int [B, K], 1 = best.
        labels: bool [B], whether column 0 is desirable; sets that are pairs have True.
        kl_baseline: scalar, kto's reference point z0 in nats, instead of the loss's own running one.
        statistics: what `Loss.observe` said of these rows of the global batch, [B] by name. Without them a
            loss with statistics observes the batch that it is called with.
    """

    ranks: Tensor | None = None
    labels: Tensor | None = None
    kl_baseline: Tensor | None = None
    statistics: Mapping[str, Tensor] | None = None


class Term(NamedTuple):
    """A part of a loss with its own mean: the loop minimises coefficient x sum(values) / global sum(weights).

    `values` and `weights` are [B]; weights are 1 for a mean over sets, token counts for a mean over tokens,
    and never depend on the log-probs, but for what `Loss.observe` said of them.
    """

    values: Tensor
    weights: Tensor
    coefficient: float = 1.0


class LossOutput(NamedTuple):
    """What a loss returns.

    Attributes:
        losses: [B], the loss of each set, no mean taken; a token mean is taken over these B sets' tokens.
        terms: what the loop sums and normalises by the whole global batch.
        rewards: [B, K] detached: beta x log-ratio, or beta x mean log-prob where there is no reference.
        metrics: scalars worth logging beside the loss, each a mean over the sets that it was called with.
    """

    losses: Tensor
    terms: tuple[Term, ...]
    rewards: Tensor
    metrics: dict[str, Tensor]


def output(*terms: Term, rewards: Tensor, metrics: dict[str, Tensor] | None = None) -> LossOutput:
    """A `LossOutput` of these terms: `losses.mean()` equals the terms' sum on this batch."""
    losses = torch.zeros_like(terms[0].values)
    for term in terms:
        share = len(term.values) / term.weights.sum().clamp(min=1)
        losses = losses + term.coefficient * share * term.values
    return LossOutput(losses, terms, rewards.detach(), metrics or {})


def add(*parts: tuple[float, LossOutput]) -> LossOutput:
    """The weighted sum of losses on the same sets; rewards and metrics are those of the first."""
    terms = tuple(
        term._replace(coefficient=weight * term.coefficient) for weight, part in parts for term in part.terms
    )
    first = parts[0][1]
    return output(*terms, rewards=first.rewards, metrics=first.metrics)


def set_mean(values: Tensor) -> Term:
    """A term whose mean is over sets; `values` is [B]."""
    return Term(values, torch.ones_like(values))


def log_ratio(policy: Logps, reference: Logps) -> Tensor:
    """[B, K], log p of the policy minus that of the reference, without gradient through the reference."""
    return policy.sum - reference.sum.detach()


def comparable(log_ratios: Tensor) -> Tensor:
    """Log-ratios to a thousandth of a nat, without gradient: what an order of them goes by.

    Where policy and reference are the same, as in the first step, rounding alone would make the order, and
    the step would depend on which completions passed together: in float32, sums of 500 nats are off by 3e-5.
    """
    return (1000.0 * log_ratios.detach()).round() / 1000.0


def mean_log_ratio(policy: Logps, reference: Logps) -> Tensor:
    """[B, K], `log_ratio` divided by the completion's length."""
    return log_ratio(policy, reference) / policy.length.clamp(min=1)


def pair_of(values: Tensor) -> tuple[Tensor, Tensor]:
    """Chosen and rejected columns ([B] each) of [B, 2]; a `ValueError` for any other number of columns."""
    if values.shape[1] != 2:
        raise ValueError(f"a pairwise loss takes sets of 2 completions, got {values.shape[1]}")
    return values[:, 0], values[:, 1]
