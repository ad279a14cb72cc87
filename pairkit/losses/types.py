"""The inputs and outputs of every loss.

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
        sum: [B, K], sum over completion tokens of log p, nats, float32 or float64.
        length: int [B, K], number of completion tokens scored, including the end-of-turn token.
        mask: bool [B, K], False where a set has fewer than K completions.
        token_kl: [B, K] or None, sum over completion tokens of KL(reference || policy).
        alignment: [B, K] or None, mean over tokens of log p(y_t) - log sum_v p(v)^2.
        head_sum: [B, K] or None, sum over the first min(|column 0|, |column j|) tokens of column j; for
            pairs, over the first min(|chosen|, |rejected|) tokens of both.
        chosen_head: [B, K] or None, sum over the same number of tokens of column 0: the `head_sum` of
            column 0 in its pair with column j.
        turns_sum: [B, K] or None, sum over the assistant's earlier turns in the set's prompt, the same in all
            columns: what a loss on one completion takes besides it where whole dialogues are trained on.

    Raises:
        ValueError: shapes differ, log-probs are not float32 or float64, or the mask is not bool.
    """

    sum: Tensor
    length: Tensor
    mask: Tensor
    token_kl: Tensor | None = None
    alignment: Tensor | None = None
    head_sum: Tensor | None = None
    chosen_head: Tensor | None = None
    turns_sum: Tensor | None = None

    def __post_init__(self) -> None:
        if self.sum.ndim != 2:
            raise ValueError(f"Logps.sum must be [sets, completions], got shape {tuple(self.sum.shape)}")
        # Not bfloat16: a loss subtracts sums of hundreds of nats, and three digits leave nothing.
        if self.sum.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"Logps.sum must be float32 or float64, got {self.sum.dtype}")
        # Not integers, because `~mask` would flip their bits and select other rows.
        if self.mask.dtype != torch.bool:
            raise ValueError(f"Logps.mask must be bool, got {self.mask.dtype}")
        for name, value in self.tensors().items():
            if value.shape != self.sum.shape:
                raise ValueError(
                    f"Logps.{name} has shape {tuple(value.shape)}, but sum has {tuple(self.sum.shape)}"
                )

    def tensors(self) -> dict[str, Tensor]:
        """Return the fields that are not None, by name, [B, K] each."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def mean(self) -> Tensor:
        """Mean over completion tokens of log p, [B, K]; 0 for a completion without tokens."""
        return self.sum / self.length.clamp(min=1)

    def rows(self, index: Tensor) -> Logps:
        """Select the sets `index` ([R], int64), in that order; a set may repeat."""
        return replace(self, **{name: value[index] for name, value in self.tensors().items()})

    def columns(self, index: Tensor) -> Logps:
        """Select the completions `index` ([B, C], int64; -1 gives a masked column) of each set."""
        # Clamped, because gather takes no -1; the mask hides what it picks.
        tensors = {name: value.gather(1, index.clamp(min=0)) for name, value in self.tensors().items()}
        return replace(self, **(tensors | {"mask": tensors["mask"] & (index >= 0)}))

    def paired(self) -> Logps:
        """Set `head_sum` to that of the pair, after a pair ([B, 2]) was selected from each set."""
        if self.head_sum is None or self.chosen_head is None or self.sum.shape[1] != 2:
            return self
        # Both from column 1: the prefix of the chosen completion depends on the other one's length.
        heads = torch.stack([self.chosen_head[:, 1], self.head_sum[:, 1]], dim=1)
        return replace(self, head_sum=heads, chosen_head=None)

    def detach(self) -> Logps:
        """Return the same numbers without gradient."""
        return replace(self, **{name: value.detach() for name, value in self.tensors().items()})


@dataclass(frozen=True)
class Extras:
    """Inputs that only some losses need; a row of the table lists them in `needs`.

    Attributes:
        ranks: int [B, K], 1 = best.
        labels: bool [B], whether column 0 is desirable; True for pairs.
        kl_baseline: scalar, kto's reference point z0 in nats, which replaces the loss's own running value.
        statistics: result of `Loss.observe` for these rows of the global batch, [B] by name. Without it, a
            loss with statistics first observes the batch that it is called with.
    """

    ranks: Tensor | None = None
    labels: Tensor | None = None
    kl_baseline: Tensor | None = None
    statistics: Mapping[str, Tensor] | None = None


class Term(NamedTuple):
    """A part of a loss with its own mean: the loop minimizes coefficient x sum(values) / global sum(weights).

    `values` and `weights` are [B]; weights are 1 for a mean over sets and token counts for a mean over
    tokens. They never depend on the log-probs, except through `Loss.observe`.
    """

    values: Tensor
    weights: Tensor
    coefficient: float = 1.0


class LossOutput(NamedTuple):
    """The result of a loss.

    Attributes:
        losses: [B], loss per set, not averaged; a token mean is over the tokens of these B sets.
        terms: parts that the loop sums and normalizes by the whole global batch.
        rewards: [B, K], detached, in the unit of the loss's own logit: beta x log-ratio, or beta x log-prob
            without a reference, of sums or of means over tokens.
        metrics: scalars (`[]`) to log next to the loss, each a mean over the sets of this call.
        contrast: [B], detached: what the loss compares of a pair, in its own unit, before scale and margins;
            None where that is the difference of the rewards over beta.
    """

    losses: Tensor
    terms: tuple[Term, ...]
    rewards: Tensor
    metrics: dict[str, Tensor]
    contrast: Tensor | None = None


def output(
    *terms: Term,
    rewards: Tensor,
    metrics: dict[str, Tensor] | None = None,
    contrast: Tensor | None = None,
) -> LossOutput:
    """Build a `LossOutput` whose `losses.mean()` equals the sum of the terms on this batch."""
    losses = torch.zeros_like(terms[0].values)  # [B]
    for term in terms:
        # So that the mean over sets is the term's own mean; at least 1, where no completion has weight.
        share = len(term.values) / term.weights.sum().clamp(min=1)
        losses = losses + term.coefficient * share * term.values
    # Rewards and contrast are reported only.
    contrast_values = None if contrast is None else contrast.detach()
    return LossOutput(losses, terms, rewards.detach(), metrics or {}, contrast_values)


def add(*parts: tuple[float, LossOutput]) -> LossOutput:
    """Add losses on the same sets with weights; rewards, metrics and contrast are those of the first."""
    terms = tuple(
        term._replace(coefficient=weight * term.coefficient) for weight, part in parts for term in part.terms
    )
    first = parts[0][1]  # one reward per completion can be reported
    return output(*terms, rewards=first.rewards, metrics=first.metrics, contrast=first.contrast)


def set_mean(values: Tensor) -> Term:
    """Build a term that is averaged over sets; `values` is [B]."""
    return Term(values, torch.ones_like(values))


def log_ratio(policy: Logps, reference: Logps) -> Tensor:
    """Compute log p of the policy minus that of the reference, [B, K], nats; no gradient to the reference."""
    return policy.sum - reference.sum.detach()


def comparable(log_ratios: Tensor) -> Tensor:
    """Round log-ratios, of any shape, to a thousandth of a nat, without gradient, before they are sorted.

    Where policy and reference are equal, as in the first step, rounding errors alone would decide the order,
    and the step would depend on which completions shared a forward pass: in float32, sums of 500 nats are
    off by 3e-5.
    """
    return (1000.0 * log_ratios.detach()).round() / 1000.0  # nats


def positive_part(log_ratios: Tensor) -> Tensor:
    """Compute max(0, x) of log-ratios; up to 0.0005 nats it is 0 and has no gradient.

    As in `comparable`: every run starts at 0, where a sign is that of a rounding error.
    """
    # Not `> 0`, which is false for NaN too: a step with one has to be noticed.
    return log_ratios.masked_fill(comparable(log_ratios) <= 0.0, 0.0)


def mean_log_ratio(policy: Logps, reference: Logps) -> Tensor:
    """Compute `log_ratio` divided by the completion's length, [B, K], nats per token."""
    return log_ratio(policy, reference) / policy.length.clamp(min=1)


def pair_of(values: Tensor) -> tuple[Tensor, Tensor]:
    """Split [B, 2] into chosen and rejected ([B] each). Raises `ValueError` for another number of columns."""
    if values.shape[1] != 2:
        raise ValueError(f"a pairwise loss takes sets of 2 completions, got {values.shape[1]}")
    return values[:, 0], values[:, 1]
