"""From log-probs of sets to the terms of a loss: what it is called with, what it observes, its rows.

Shapes: B sets of a (micro-)batch, K completions of the widest of them, R rows of a loss's view of the batch
with C completions each (2 for a pair). Log-probs and rewards are in nats.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pairkit.losses import Extras, Logps, Loss, Term, WeightedSum
from pairkit.losses.listwise import ordered_pairs
from pairkit.losses.types import comparable, log_ratio
from pairkit.training.logprobs.selection import SetSelection

# For each part of a loss, tensors [B, K] by name; None for one that observes what it is called with.
Observed = Sequence[Mapping[str, Tensor] | None]

RESOLUTION = 1e-3  # nats, of `comparable` log-ratios
TIE = 1e-4  # nats, because sums of 500 nats in float32 are off by 3e-5, and rewards by beta times that


class Inputs(NamedTuple):
    """What losses are called with: some sets, completion 0 preferred, the others its negatives.

    Attributes:
        policy, reference: log-probs, `[B, K]` each.
        scores: `[B, K]`, NaN where a completion has none.
        ranks: `[B, K]`, 1 is best; noise ranks below all.
        labels: bool `[B]`, False where a set is labeled undesirable.
        turns: int64 `[B]`, how many tokens `policy.turns_sum` is over.
    """

    policy: Logps
    reference: Logps | None
    scores: Tensor
    ranks: Tensor
    labels: Tensor
    turns: Tensor

    def view(self, owner: Tensor, columns: Tensor) -> Inputs:
        """Make rows of the completions `columns` (`[R, C]`, -1 is masked) of the sets `owner` (`[R]`)."""

        def pick(values: Tensor) -> Tensor:  # from [B, K] to [R, C]
            # Clamped, because -1 is no index; what it picks is masked.
            return values[owner].gather(1, columns.clamp(min=0))

        return Inputs(
            self.policy.rows(owner).columns(columns).paired(),
            self.reference.rows(owner).columns(columns).paired() if self.reference else None,
            pick(self.scores),
            pick(self.ranks),
            self.labels[owner],
            self.turns[owner],
        )

    def dialogues(self) -> Inputs:
        """Add the assistant's earlier turns to the completions."""
        policy = self.policy
        earlier = torch.zeros_like(policy.sum) if policy.turns_sum is None else policy.turns_sum
        length = policy.length + self.turns[:, None]
        return self._replace(policy=replace(policy, sum=policy.sum + earlier, length=length, turns_sum=None))


class Applied(NamedTuple):
    """A loss on some sets.

    Attributes:
        margins: reward margins of all (chosen, negative) pairs, `[pairs]`.
        tie: the margin up to which a pair counts as tied.
        labeled: rewards of labeled single completions, by their label, `[completions]` each.
        metrics: those of each part, one number per row of its view (`[R]`), so that rows weigh alike in a
            mean.
        contrasts: what the loss compares of each pair, in its own unit, before scale and margins, `[pairs]`.
    """

    terms: list[Term]
    margins: Tensor
    tie: float
    labeled: dict[str, Tensor]
    metrics: dict[str, Tensor]
    contrasts: Tensor


def inputs(work: Sequence[SetSelection], policy: Logps, reference: Logps | None) -> Inputs:
    """Collect scores, ranks and labels of the sets next to their log-probs."""
    scores = np.full(policy.sum.shape, np.nan)  # [B, K]; NaN where there is none, because 0 is a score
    ranks = np.zeros(policy.sum.shape, np.int64)  # [B, K]; 0 where masked
    labels = np.ones(len(work), np.bool_)  # [B]
    for i, item in enumerate(work):
        # Noise has no rank of its own; it ranks one below the worst completion of the whole set, not of the
        # selected ones, because a selection must not change a rank.
        below_all = 1 + max((column.rank or 0) for column in item.tokens.columns)
        columns = [item.tokens.columns[c] for c in item.columns]
        scores[i, : len(columns)] = [np.nan if column.score is None else column.score for column in columns]
        ranks[i, : len(columns)] = [column.rank or below_all for column in columns]
        # None is no label: only a set that is labeled undesirable differs from the others.
        labels[i] = item.tokens.label is not False
    device = policy.sum.device
    return Inputs(
        policy,
        reference,
        torch.from_numpy(scores).to(device, policy.sum.dtype),
        torch.from_numpy(ranks).to(device),
        torch.from_numpy(labels).to(device),
        torch.tensor([item.tokens.turn_count for item in work], device=device),
    )


def apply(loss: Loss | WeightedSum, tensors: Inputs, observations: Observed | None) -> Applied:
    """Apply the loss to some sets, each part to its own view of them.

    A pairwise loss takes every (chosen, negative) pair as an example of its own, a loss on one completion
    takes completion 0, with the assistant's earlier turns where they count, but of no set that is labeled
    undesirable.

    Args:
        observations: what `observe` returned for these sets; None lets a loss observe what it is called with.
    """
    terms: list[Term] = []
    metrics: dict[str, Tensor] = {}
    margins, label_rewards = tensors.policy.sum.new_zeros(0), {}
    contrasts = margins
    for position, (weight, part) in enumerate(loss.parts):
        owner, columns = _view(part.completions, tensors.policy.mask, tensors.labels)  # [R], [R, C]
        view = tensors.view(owner, columns)
        if part.completions == "first":  # the others compare completions of one prompt
            view = view.dialogues()
        # Observations are by set and completion of the batch, [B, K]; a row looks its own up.
        grids, statistics = observations[position] if observations is not None else None, None
        if grids is not None:
            key = _key(part.completions, columns)  # [R]
            statistics = {name: grid[owner, key] for name, grid in grids.items()}  # [R] each
        # No kl_baseline: it would replace the running value that kto keeps from step to step.
        extras = Extras(view.ranks, view.labels if part.completions == "labeled" else None, None, statistics)
        result = part(view.policy, view.reference, view.scores, extras=extras)
        # A weight scales the whole term; its denominator is applied in `total`.
        terms += [term._replace(coefficient=weight * term.coefficient) for term in result.terms]
        # One value per row, because a mean over micro-batches would weigh a row by the micro-batch it is in.
        metrics |= {name: value.detach().expand(len(owner)) for name, value in result.metrics.items()}
        # Margins are of the first part that has negatives: a sum has one reward per completion to report.
        if part.trains == "reward":
            margins = margins if len(margins) else _reward_margins(part, view, result.rewards)
        elif not len(margins) and part.completions != "first":
            below = view.policy.mask[:, 1:]  # [R, C - 1]: the negatives that there are
            margins = _margins(view, result.rewards, part.beta)[below]  # [pairs], nats
            contrasts = margins / part.beta if result.contrast is None else result.contrast[below[:, 0]]
        if part.completions == "labeled":
            # A completion of a pair has a margin instead; a single one has its label alone.
            alone = view.policy.mask.sum(dim=1) == 1
            for name, side in (("desirable_reward", view.labels), ("undesirable_reward", ~view.labels)):
                label_rewards[name] = result.rewards[:, 0][alone & side]
    # A trained reward starts at no reference, whose margins would be rounding.
    tie = TIE * loss.beta if loss.trains == "policy" else 0.0
    return Applied(terms, margins, tie, label_rewards, metrics, contrasts)


def observe(loss: Loss | WeightedSum, whole: Inputs, seeds: Tensor) -> Observed:
    """Show the whole global batch to the parts that keep statistics of it.

    Before the gradient passes, and on every process the whole of it: statistics are then a function of the
    batch, not of how it is cut.

    Args:
        seeds: int64 `[B]`; each row of a view gets one of its own, by set and completion.

    Returns:
        For each part, its observations of each (set, completion) of the batch.
    """
    observations: list[Mapping[str, Tensor] | None] = []
    for _, part in loss.parts:
        # It observes at every call, as official code does: there is nothing to show it before.
        if part.every_call:
            observations.append(None)
            continue
        observations.append(observe_part(part, whole, seeds) if observes(part, "batch") else {})
    return observations


def observe_part(part: Loss, whole: Inputs, seeds: Tensor) -> dict[str, Tensor]:
    """Show all sets of `whole` to one part of a loss, in its own view of them.

    Returns:
        Its observations of each (set, completion), `[B, K]` by name.
    """
    owner, columns = _view(part.completions, whole.policy.mask, whole.labels)
    view = whole.view(owner, columns)
    key = _key(part.completions, columns)
    grids: dict[str, Tensor] = {}
    # The seed of a row is that of its set plus its completion, because rows of one set differ.
    for name, values in part.observe(view.policy, view.reference, seeds[owner] + key).items():
        # [B, K]; 0 for completions that no row is about.
        grids[name] = torch.zeros(whole.policy.sum.shape, dtype=values.dtype)
        grids[name][owner, key] = values
    return grids


def observes(part: Loss, what: str) -> bool:
    """Tell whether the loop shows this to the loss: "batch", "mismatched" or "dataset"."""
    if part.statistics is None or part.every_call:
        return False
    return what == ("dataset" if part.of_dataset else part.statistics.of)


def unobserved(loss: Loss | WeightedSum) -> Observed:
    """Make the observations of a batch that no part of the loss was shown."""
    return [None if part.every_call else {} for _, part in loss.parts]


def rows_of(observations: Observed, rows: Sequence[int], device: torch.device) -> Observed:
    """Select the observations of some of the sets."""
    # None and {} stay, because they mean "observes for itself" and "observes nothing".
    return [
        grids and {name: grid[list(rows)].to(device) for name, grid in grids.items()}
        for grids in observations
    ]


def _margins(view: Inputs, rewards: Tensor, beta: float) -> Tensor:
    """Subtract the rewards of a row's negatives from that of its chosen completion, `[R, C - 1]`.

    A margin is 0 where policy and reference are equal to rounding on both completions. Rounding grows with
    the length, so that a mean of such margins would measure that instead.
    """
    margins = rewards[:, :1] - rewards[:, 1:]
    if view.reference is None:
        return margins
    equal = comparable(log_ratio(view.policy, view.reference)) == 0  # [R, C]
    # Not where the rewards hold more than the log-ratios, which rounding does not explain.
    rounding = equal[:, :1] & equal[:, 1:] & (margins.abs() <= beta * RESOLUTION)
    return margins.masked_fill(rounding, 0.0)


def _reward_margins(part: Loss, view: Inputs, rewards: Tensor) -> Tensor:
    """Subtract the rewards of all pairs of a set, better minus worse, `[pairs]`; ties form no pair.

    What is better is what the loss learns: the rank, or the score.
    """
    order = -view.ranks if "ranks" in part.needs else view.scores
    pairs = ordered_pairs(order, view.policy.mask)  # [R, C, C]
    return (rewards[:, :, None] - rewards[:, None, :])[pairs]


def _view(completions: str, mask: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Choose the rows of a loss: of which sets (`[R]`), and which of their completions (`[R, C]`)."""
    if completions == "first":
        indices = labels.nonzero()[:, 0]  # [R]: sets that are not labeled undesirable
        return indices, torch.zeros_like(indices)[:, None]  # [R], [R, 1]
    if completions == "set":
        every, columns = (torch.arange(size, device=mask.device) for size in mask.shape)
        return every, torch.where(mask, columns, -1)  # [R], [R, C]: R is B and C is K
    # One row per (chosen, negative) pair, [R, 2]; of a single labeled completion the partner is masked.
    alone = mask.sum(dim=1) == 1  # [B]
    pair_mask = mask.clone()  # [B, K]: the second completion of each row
    pair_mask[:, 0] = alone if completions == "labeled" else False
    owner, other = pair_mask.nonzero(as_tuple=True)  # [R] each, in the order of sets and completions
    # The other is 0 only for a single labeled completion, which has no partner.
    columns = torch.stack([torch.zeros_like(other), torch.where(other == 0, -1, other)], dim=1)
    return owner, columns


def _key(completions: str, columns: Tensor) -> Tensor:
    """Return the completion that a row's observation belongs to, `[R]`."""
    return (
        # By the negative, because all pairs of a set share completion 0.
        columns[:, 1].clamp(min=0) if completions in ("pair", "labeled") else torch.zeros_like(columns[:, 0])
    )
