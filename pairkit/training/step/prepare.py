"""What is known of a global batch before its gradient passes: its completions, what its losses observe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pairkit.losses import Logps, Loss, WeightedSum
from pairkit.training.distributed.processes import CPU
from pairkit.training.logprobs.probe import continues
from pairkit.training.logprobs.selection import SetSelection, as_logps, lengths
from pairkit.training.step.batch import Batch, Draw, StepModel
from pairkit.training.step.examples import Examples, Mismatched, Split, examples
from pairkit.training.step.figures import Figures
from pairkit.training.step.negatives import draw, pick, with_columns
from pairkit.training.step.objective import (
    inputs,
    observe,
    observes,
    unobserved,
)
from pairkit.training.step.passes import step_passes, usable_completions
from pairkit.training.step.router import global_routing
from pairkit.training.step.term_weights import term_weights


def prepare(
    step_model: StepModel,
    negatives: Mapping[str, Any],
    split: Split,
    rows: Sequence[int],
    seeds: Tensor,
    figures: Figures | None = None,
) -> Batch:
    """Select the completions of a global batch and show it to the losses that keep statistics.

    Completions are scored at most once (see `step_passes`), always under the weights that the gradient is
    taken at: a draw or a statistic from before the last update would be of another policy.

    Args:
        rows: the sets' numbers in the split, `[B]`.
        seeds: int64 `[B]`, see `order.draw_seeds`.
        figures: gets the probabilities of what is drawn.
    """
    loss = step_model.loss
    # Every process prepares the whole batch; which sets are its own is decided in the gradient passes.
    usable = examples(split, rows, usable_completions(loss, (split.sets[i] for i in rows)))
    # What a gradient pass draws is not known before it, and the balance of experts has to know it.
    shared = step_model.shared and step_model.routers is None
    pass_plan = step_passes(loss, negatives, usable.work, shared=shared)
    if pass_plan.in_pass is not None and not continues(step_model.model):
        pass_plan = step_passes(loss, negatives, usable.work, shared=False)
    before: list[SetSelection] = []
    # First, because kto's reference point of a step is a statistic that the step's own loss reads.
    if pass_plan.mismatched and split.mismatched:
        before += _observe_mismatched(step_model, split.mismatched, rows)
    if pass_plan.in_pass is not None:
        # Nothing is scored now: each micro-batch draws on the keys and values of its own prompts.
        longest, weights, lead = pass_plan.in_pass
        alone = step_model.live is step_model.model
        drawing = Draw(partial(_pick, loss, negatives, usable, seeds, alone, figures), lead, longest)
        # No part observes here: statistics of the batch would need its log-probs before the first gradient.
        return Batch(usable, unobserved(loss), weights, drawing, before)
    scoring = step_model.scoring(pass_plan.statistics)
    # On the CPU and the same on every process, so that all draw the same completions: a draw that differed by
    # rounding between devices would give two processes different batches.
    scores = scoring(usable.work) if pass_plan.scoring == "all" else None
    work = usable.work
    if figures and scores and step_model.processes.main:  # all processes have the same numbers
        figures.add_draw(usable, scores.policy, scores.reference)
    if pass_plan.draws:
        work, scores = draw(loss, negatives, usable, seeds, scores)
    # After the draw, because only what was drawn has to be scored for the statistics.
    if pass_plan.scoring == "selected":
        scores = scoring(work)
    before += pass_plan.scored(usable.work, work)
    # The log-probs of the reference stay, of all completions; the selection is that of `work`.
    batch = usable.rows(range(len(rows)), work)
    length, mask = lengths(work)
    # Weights of terms do not depend on log-probs, so zeros serve where nothing was scored.
    policy = scores.policy if scores else Logps(torch.zeros(mask.shape), length, mask)
    observations = unobserved(loss)
    if pass_plan.observes:
        reference = (scores.reference if scores else None) or batch.reference_logps(CPU)
        observations = observe(loss, inputs(work, policy, reference), seeds)
    # Weights of the whole batch, before its first backward: every micro-batch is divided by the same sums.
    routing = None
    if step_model.routers:
        model, live = step_model.model, step_model.live
        routing = global_routing(
            step_model.routers, model, live, work, step_model.budget, step_model.processes
        )
        before += work
    weights = term_weights(loss, work, policy, observations)
    return Batch(batch, observations, weights, scored=before, routing=routing)


def _pick(
    loss: Loss | WeightedSum,
    negatives: Mapping[str, Any],
    usable: Examples,
    seeds: Tensor,
    alone: bool,
    figures: Figures | None,
    rows: Sequence[int],
    policy: Logps,
) -> list[SetSelection]:
    """Sample for some rows of the batch. Seeds are per set, so the micro-batch does not change the sample.

    Args:
        alone: whether the policy is its own reference.
    """
    some, reference = usable.rows(rows), policy if alone else None
    if figures:
        figures.add_draw(some, policy, reference)
    # `rows` are positions in the batch, and so are those of the seeds.
    return with_columns(some.work, pick(loss, negatives, some, seeds[list(rows)], policy, reference))


def _observe_mismatched(
    step_model: StepModel, mismatch: Mismatched, rows: Sequence[int]
) -> list[SetSelection]:
    """Show prompts of the batch with completions of others to the losses that measure them."""
    work = [SetSelection.all(mismatch.sets[i]) for i in rows]
    # Sums are enough: kto's reference point is a mean of log-ratios of whole completions, nats.
    scores = step_model.scoring(frozenset())(work)
    reference = scores.reference
    if reference is None and mismatch.reference is not None:
        reference = as_logps(work, [mismatch.reference[i] for i in rows], CPU)
    # All processes see all of them, and so keep the same statistics without exchanging any.
    for _, part in step_model.loss.parts:
        if observes(part, "mismatched"):
            part.observe(scores.policy, reference)
    return work
