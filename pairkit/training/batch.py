"""A global batch: the columns that it takes, and all that is known of it before its gradient passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pairkit.losses import Logps, Loss, WeightedSum
from pairkit.training.attention import packing
from pairkit.training.examples import Examples, Mismatched, Split, examples
from pairkit.training.forward import Work, lengths, micro_batches, score
from pairkit.training.negatives import Score, draw
from pairkit.training.objective import (
    Averages,
    Observed,
    apply,
    inputs,
    observe,
    observes,
    rows_of,
    term_weights,
    total,
)
from pairkit.training.probe import packs
from pairkit.training.ranks import CPU, Ranks
from pairkit.training.reference import as_logps
from pairkit.training.scoring import PER_TOKEN, score_batch


@dataclass(frozen=True)
class Batch:
    """A global batch, the same on every process.

    Attributes:
        observed: what the parts of the loss said of its sets.
        weights: the sum of each term's weights over the batch, which normalise each micro-batch, so that
            their number does not matter.
    """

    examples: Examples
    observed: Observed
    weights: list[float]


@dataclass(frozen=True)
class Pass:
    """What makes log-probs for a loss: the policy, a live reference where the loss needs one, the budget."""

    loss: Loss | WeightedSum
    model: nn.Module
    live: nn.Module | None
    budget: int
    ranks: Ranks

    @property
    def want(self) -> frozenset[str]:
        """What the loss needs of a pass besides sums."""
        return self.loss.needs & PER_TOKEN

    def scoring(self, want: frozenset[str]) -> Score:
        """A scoring pass of any columns, shared out over the processes."""
        return partial(
            score_batch,
            self.model,
            tokens_per_micro_batch=self.budget,
            want=want,
            live=self.live,
            ranks=self.ranks,
        )

    def gradients(self, batch: Batch, averages: Averages) -> tuple[float, int]:
        """Adds this process's share of the batch's gradient to the model, micro-batch by micro-batch.

        Returns:
            Its share of the objective, and the tokens that it passed.
        """
        mine = self.ranks.share(len(batch.examples.work))
        work = [batch.examples.work[i] for i in mine]
        value, tokens = 0.0, 0
        shared = packs(self.model, self.live)
        with packing(self.model) if shared else nullcontext():  # layers may pass again in backward
            for group in micro_batches(work, self.budget, shared=shared):
                rows = [mine[i] for i in group]
                part = [work[i] for i in group]
                scored = score(self.model, part, want=self.want, live=self.live)
                device = scored.policy.sum.device
                known = scored.reference or batch.examples.known(rows, device)
                given = inputs(part, scored.policy, known)
                applied = apply(self.loss, given, rows_of(batch.observed, rows, device))
                objective = total(applied.terms, batch.weights)
                objective.backward()  # type: ignore[no-untyped-call]
                value += float(objective.detach())
                averages.add_pass(given, applied)
                tokens += scored.tokens
        return value, tokens


def prepare(
    through: Pass, negatives: Mapping[str, Any], split: Split, rows: Sequence[int], seeds: Tensor
) -> Batch:
    """Draws the columns of a global batch and shows it to the losses that keep statistics.

    Completions are scored, once, where the draw or a statistic depends on the present weights.
    """
    loss = through.loss
    watched = [part for _, part in loss.parts if observes(part, "batch")]
    want = frozenset[str]().union(*(part.needs for part in watched)) & PER_TOKEN
    scoring = through.scoring(want)
    work, scored = draw(loss, negatives, split, rows, seeds, scoring)
    batch = examples(split, rows, work)
    if watched and scored is None:
        scored = scoring(batch.work)
    length, mask = lengths(batch.work)
    policy = scored.policy if scored else Logps(torch.zeros(mask.shape), length, mask)
    observed: Observed = [None if part.every_call else {} for _, part in loss.parts]
    if watched:
        reference = (scored.reference if scored else None) or batch.known(batch.every, CPU)
        observed = observe(loss, inputs(batch.work, policy, reference), seeds)
    if split.mismatched:
        _observe_mismatched(through, split.mismatched, rows)
    return Batch(batch, observed, term_weights(loss, batch.work, policy, observed))


def _observe_mismatched(through: Pass, mismatched: Mismatched, rows: Sequence[int]) -> None:
    """Shows prompts of the batch with completions of others to the losses that measure them."""
    sets = [mismatched.sets[i] for i in rows]
    work = [Work(item, tuple(range(len(item.columns)))) for item in sets]
    scored = through.scoring(frozenset())(work)
    reference = scored.reference
    if mismatched.reference is not None:
        reference = as_logps(work, [mismatched.reference[i] for i in rows], CPU)
    for _, part in through.loss.parts:
        if observes(part, "mismatched"):
            part.observe(scored.policy, reference)
