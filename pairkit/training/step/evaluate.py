"""Evaluation on held-out candidate sets, and the pass over some sets that it begins with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import nn

from pairkit.losses import Logps
from pairkit.training.distributed.processes import CPU
from pairkit.training.logprobs.selection import Scored, SetSelection
from pairkit.training.step.averages import Averages
from pairkit.training.step.batch import StepModel
from pairkit.training.step.examples import Split, examples
from pairkit.training.step.figures import Figures
from pairkit.training.step.objective import apply, inputs
from pairkit.training.step.passes import usable_completions
from pairkit.training.step.term_weights import total


class ScoredSets(NamedTuple):
    """Some sets of a split, with the log-probs of all completions that the loss can use.

    Attributes:
        scored: those of the policy, and of the reference where it runs.
        reference: the reference's log-probs as the loss takes them, `[B, K]`; None for a loss without one.
    """

    work: list[SetSelection]
    scored: Scored
    reference: Logps | None

    @property
    def compared(self) -> Logps | None:
        """The reference's log-probs, also where the loss takes none; None where they are not known."""
        return self.reference or self.scored.reference


def score_sets(
    step_model: StepModel,
    split: Split,
    want: frozenset[str],
    *,
    rows: Sequence[int] | None = None,
    reference: nn.Module | None = None,
) -> ScoredSets:
    """Score some sets of a split, by default all, through the same passes as training; collective.

    Args:
        want: statistics of the pass besides sums.
        reference: a reference that runs next to the policy where the loss has none that does. The loss takes
            the log-probs that it takes without it.
    """
    some = range(len(split.sets)) if rows is None else rows
    every = examples(split, some, usable_completions(step_model.loss, (split.sets[i] for i in some)))
    extra = reference if step_model.live is None else None
    through = step_model if extra is None else replace(step_model, live=extra)
    # Through the same packed and sharded pass as training, so that the two losses can be compared.
    scores = through.scoring(want)(every.work)
    of_pass = scores.reference if extra is None else None
    return ScoredSets(every.work, scores, of_pass or every.reference_logps(CPU))


def evaluate(step_model: StepModel, split: Split) -> dict[str, float]:
    """Measure loss, reward accuracy and margin, log-probs and token entropy over all sets of a split.

    Nothing is sampled: every completion below the preferred one is its negative, because then two evaluations
    differ by the model alone. Running statistics are frozen; statistics of a batch are those of all sets.
    `reward_accuracy` is the share of (chosen, negative) pairs whose implicit rewards are in the right order,
    a tie counting one half; `entropy` is the mean over sets of the mean over the chosen completion's tokens,
    nats.
    """
    want = step_model.want | step_model.kind.evaluated
    return evaluation(step_model, score_sets(step_model, split, want))


def evaluation(step_model: StepModel, sets: ScoredSets, figures: Figures | None = None) -> dict[str, float]:
    """Measure what `evaluate` does of sets that were scored, and `figures` too if passed."""
    loss, policy = step_model.loss, sets.scored.policy
    if figures:  # a leaf, whose gradient shows which sets have one
        policy = replace(policy, sum=policy.sum.detach().requires_grad_())
    loss.eval()
    with torch.set_grad_enabled(figures is not None):
        tensors = inputs(sets.work, policy, sets.reference)
        outcome = apply(loss, tensors, None)
        # One batch of all sets, so each term is normalized by its own weights.
        value = total(outcome.terms, [float(term.weights.sum()) for term in outcome.terms])
    loss.train()
    averages = Averages(step_model.kind.logged)
    averages.add_pass(tensors, outcome)
    if sets.scored.entropy is not None:
        averages.add("entropy", sets.scored.entropy[:, 0])
    metrics = {"loss": float(value.detach())} | averages.means()
    if figures is None:
        return metrics
    if value.requires_grad:
        value.backward()  # type: ignore[no-untyped-call]
    figures.add_pass(sets.work, tensors._replace(reference=sets.compared), outcome)
    if loss.completions != "first":
        figures.add_candidates(policy.detach(), sets.reference, chosen_known=True)
    return metrics | figures.means()
