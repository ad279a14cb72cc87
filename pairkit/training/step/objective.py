"""From log-probs of sets to the number that is minimised, and to the numbers that are logged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pairkit.losses import Extras, Logps, Loss, Term, WeightedSum
from pairkit.training.distributed.processes import Processes
from pairkit.training.logprobs.selection import SetSelection, lengths

# Of each part of a loss, [sets, columns] by name; None for one that observes what it is called with.
Observed = Sequence[Mapping[str, Tensor] | None]


TIE = 1e-4  # nats: sums of 500 nats in float32 are off by 3e-5, rewards by beta times that


class Inputs(NamedTuple):
    """What losses are called with: some sets, column 0 preferred, the others its negatives.

    `scores` is NaN where a completion has none; noise ranks below all; `labels` is False where a set is
    labelled undesirable.
    """

    policy: Logps
    reference: Logps | None
    scores: Tensor  # [B, K]
    ranks: Tensor  # [B, K]
    labels: Tensor  # [B]

    def view(self, owner: Tensor, columns: Tensor) -> Inputs:
        """Rows of `columns` ([R, C], -1 is masked) of the sets `owner` ([R])."""

        def pick(values: Tensor) -> Tensor:
            return values[owner].gather(1, columns.clamp(min=0))

        return Inputs(
            self.policy.rows(owner).columns(columns).paired(),
            self.reference.rows(owner).columns(columns).paired() if self.reference else None,
            pick(self.scores),
            pick(self.ranks),
            self.labels[owner],
        )


class Applied(NamedTuple):
    """A loss on some sets.

    Attributes:
        margins: reward margins of all (chosen, negative) pairs, [pairs].
        tie: up to which a margin says nothing.
        labelled: rewards of completions that stand alone with a label, by what they are labelled.
        metrics: those of each part, one number a row of its view, so that rows weigh alike in a mean.
    """

    terms: list[Term]
    margins: Tensor
    tie: float
    labelled: dict[str, Tensor]
    metrics: dict[str, Tensor]


def inputs(work: Sequence[SetSelection], policy: Logps, reference: Logps | None) -> Inputs:
    """What the sets themselves say, beside their log-probs."""
    scores = np.full(policy.sum.shape, np.nan)
    ranks = np.zeros(policy.sum.shape, np.int64)
    labels = np.ones(len(work), np.bool_)
    for i, item in enumerate(work):
        below_all = 1 + max((column.rank or 0) for column in item.tokens.columns)
        picked = [item.tokens.columns[c] for c in item.columns]
        scores[i, : len(picked)] = [np.nan if column.score is None else column.score for column in picked]
        ranks[i, : len(picked)] = [column.rank or below_all for column in picked]
        labels[i] = item.tokens.label is not False
    device = policy.sum.device
    return Inputs(
        policy,
        reference,
        torch.from_numpy(scores).to(device, policy.sum.dtype),
        torch.from_numpy(ranks).to(device),
        torch.from_numpy(labels).to(device),
    )


def apply(loss: Loss | WeightedSum, given: Inputs, observed: Observed | None) -> Applied:
    """The loss on some sets, each part on its own view of them.

    A pairwise loss takes every (chosen, negative) pair as an example of its own, a loss on one completion
    takes column 0, but of no set that is labelled undesirable.

    Args:
        observed: what `observe` said of these sets; None lets a loss observe the batch that it is given.
    """
    terms: list[Term] = []
    metrics: dict[str, Tensor] = {}
    margins, labelled = given.policy.sum.new_zeros(0), {}
    for position, (weight, part) in enumerate(loss.parts):
        owner, columns = _view(part.completions, given.policy.mask, given.labels)
        one = given.view(owner, columns)
        grids, statistics = observed[position] if observed is not None else None, None
        if grids is not None:
            key = _key(part.completions, columns)
            statistics = {name: grid[owner, key] for name, grid in grids.items()}
        extras = Extras(one.ranks, one.labels if part.completions == "labelled" else None, None, statistics)
        result = part(one.policy, one.reference, one.scores, extras=extras)
        terms += [term._replace(coefficient=weight * term.coefficient) for term in result.terms]
        metrics |= {name: value.detach().expand(len(owner)) for name, value in result.metrics.items()}
        if not len(margins) and part.completions != "first":
            below = one.policy.mask[:, 1:]
            margins = (result.rewards[:, :1] - result.rewards[:, 1:])[below]
        if part.completions == "labelled":
            alone = one.policy.mask.sum(dim=1) == 1
            for name, side in (("desirable_reward", one.labels), ("undesirable_reward", ~one.labels)):
                labelled[name] = result.rewards[:, 0][alone & side]
    return Applied(terms, margins, TIE * loss.beta, labelled, metrics)


def observe(loss: Loss | WeightedSum, whole: Inputs, seeds: Tensor) -> Observed:
    """Shows the whole global batch to the parts that keep statistics of it.

    Returns:
        What each part says of each (set, column) of the batch.
    """
    observed: list[Mapping[str, Tensor] | None] = []
    for _, part in loss.parts:
        if part.every_call:
            observed.append(None)
            continue
        grids: dict[str, Tensor] = {}
        if observes(part, "batch"):
            owner, columns = _view(part.completions, whole.policy.mask, whole.labels)
            one = whole.view(owner, columns)
            key = _key(part.completions, columns)
            for name, values in part.observe(one.policy, one.reference, seeds[owner] + key).items():
                grids[name] = torch.zeros(whole.policy.sum.shape, dtype=values.dtype)
                grids[name][owner, key] = values
        observed.append(grids)
    return observed


def observes(part: Loss, what: str) -> bool:
    """Whether the loop shows this to the loss: "batch" or "mismatched"."""
    return part.statistics is not None and part.statistics.of == what and not part.every_call


def rows_of(observed: Observed, rows: Sequence[int], device: torch.device) -> Observed:
    """What was said of some of the sets."""
    return [
        grids and {name: grid[list(rows)].to(device) for name, grid in grids.items()} for grids in observed
    ]


def term_weights(
    loss: Loss | WeightedSum, work: Sequence[SetSelection], blank: Logps, observed: Observed
) -> list[float]:
    """The sum of each term's weights over these sets.

    Weights depend on lengths, masks and what was observed alone, so those of the whole global batch are known
    before its first gradient pass, and every micro-batch can be normalised by them.

    Args:
        blank: `Logps` of `work` with the right lengths and mask, whatever its sums.
    """
    zeros = torch.zeros_like(blank.sum)
    logps = replace(blank, sum=zeros, token_kl=zeros, alignment=zeros, head_sum=zeros)
    reference = logps if "reference" in loss.needs else None
    applied = apply(loss, inputs(work, logps, reference), [grids or {} for grids in observed])
    return [float(term.weights.sum()) for term in applied.terms]


def fixed_weights(
    loss: Loss | WeightedSum, work: Sequence[SetSelection], observed: Observed
) -> list[float] | None:
    """`term_weights` where they are the same however long the negatives are; None where they are not."""
    length, mask = lengths(work)
    longer = torch.cat([length[:, :1], 2 * length[:, 1:] + 1], dim=1)
    zeros = torch.zeros(mask.shape)
    one, other = (term_weights(loss, work, Logps(zeros, n, mask), observed) for n in (length, longer))
    return one if one == other else None


def total(terms: Sequence[Term], weights: Sequence[float]) -> Tensor:
    """The scalar of one micro-batch: its share of the objective of the batch with these term weights."""
    parts = [
        term.coefficient * term.values.sum() / (weight or 1.0)
        for term, weight in zip(terms, weights, strict=True)
    ]
    return torch.stack(parts).sum()


def _view(completions: str, mask: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """(owner [R], columns [R, C]): which columns of which sets are the rows of a loss."""
    if completions == "first":
        preferred = labels.nonzero()[:, 0]
        return preferred, torch.zeros_like(preferred)[:, None]
    if completions == "set":
        every, columns = (torch.arange(size, device=mask.device) for size in mask.shape)
        return every, torch.where(mask, columns, -1)
    alone = mask.sum(dim=1) == 1
    listed = mask.clone()
    listed[:, 0] = alone if completions == "labelled" else False
    owner, other = listed.nonzero(as_tuple=True)
    columns = torch.stack([torch.zeros_like(other), torch.where(other == 0, -1, other)], dim=1)
    return owner, columns


def _key(completions: str, columns: Tensor) -> Tensor:
    """[R]: the column that what is observed of a row stands at."""
    return (
        columns[:, 1].clamp(min=0) if completions in ("pair", "labelled") else torch.zeros_like(columns[:, 0])
    )


class Averages:
    """Means over a batch that comes in parts: each is a sum and a count."""

    def __init__(self) -> None:
        self._sums: dict[str, list[float]] = {}

    def add(self, name: str, values: Tensor) -> None:
        """Adds every element of `values` to the mean `name`."""
        entry = self._sums.setdefault(name, [0.0, 0.0])
        entry[0] += float(values.double().sum())
        entry[1] += values.numel()

    def add_pass(self, given: Inputs, applied: Applied) -> None:
        """Adds what is reported of every pass: rewards, log-probs, the loss's own metrics."""
        policy = given.policy.detach()
        below = policy.mask.clone()
        below[:, 0] = ~given.labels
        for name, values in (("logp", policy.sum), ("logp_per_token", policy.mean)):
            self.add(f"chosen_{name}", values[:, 0][given.labels])
            if below.any():
                self.add(f"rejected_{name}", values[below])
        for name, rewards in applied.labelled.items():
            self.add(name, rewards)
        if len(applied.margins):
            margins = applied.margins
            self.add("reward_margin", margins)
            # A margin of 0 to rounding (policy equal to reference) is neither right nor wrong.
            tie = margins.abs() <= applied.tie
            self.add("reward_accuracy", torch.where(tie, 0.5, (margins > 0).double()))
        for name, values in applied.metrics.items():
            self.add(name, values)

    def means(self, processes: Processes | None = None) -> dict[str, float]:
        """Every mean, over all processes; a name that got no element is left out."""
        sums: dict[str, list[float]] = {}
        for found in processes.collect(self._sums) if processes else [self._sums]:
            for name, (total, count) in found.items():
                entry = sums.setdefault(name, [0.0, 0.0])
                entry[0] += total
                entry[1] += count
        return {name: total / count for name, (total, count) in sums.items() if count}
