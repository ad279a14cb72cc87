"""Statistics of the whole training set (`stats="dataset"` of a loss): passes of their own over all of it."""

from __future__ import annotations

import torch

from pairkit.losses import Loss
from pairkit.progress import log, warn
from pairkit.training.distributed.processes import CPU
from pairkit.training.logprobs.selection import PER_TOKEN
from pairkit.training.step.batch import StepModel
from pairkit.training.step.examples import Split, examples
from pairkit.training.step.objective import inputs, observe_part, observes
from pairkit.training.step.order import StepOrder, draw_seeds
from pairkit.training.step.passes import usable_completions


def observe_training_set(step_model: StepModel, split: Split, order: StepOrder, step: int) -> None:
    """Score the training set for the parts of the loss whose statistics are due at `step` (from 0).

    At the first step of a run all are, because a segment of a longer training has sets of its own.
    They see every (chosen, negative) pair, whatever the step draws, under the current weights. Whether a pass
    is due is a function of the step alone: a run that resumes here makes it again, with the same result.
    """
    parts = [part for _, part in step_model.loss.parts if observes(part, "dataset")]
    due = [part for part in parts if step in (order.first, next_pass(part, order, step - 1))]
    if not due:
        return
    log(f"step {step + 1}: scoring the training set for the statistics of {due[0].name}")
    want = frozenset[str]().union(*(part.needs for part in due)) & PER_TOKEN
    every = examples(split, range(len(split.sets)), usable_completions(step_model.loss, split.sets))
    with torch.no_grad():
        # On the CPU and the same on every process, as the scoring pass of a step.
        scores = step_model.scoring(want)(every.work)
        whole = inputs(every.work, scores.policy, scores.reference or every.reference_logps(CPU))
        seeds = draw_seeds([item.tokens for item in every.work], order.seed, step)
        for part in due:
            before = part.state_dict()
            observe_part(part, whole, seeds)
            if part.state_dict() == before:
                _warn_of_rounding(part, order, step)


def next_pass(part: Loss, order: StepOrder, step: int) -> int:
    """Return the first step after `step` at which a pass over the training set is due."""
    every: int | None = part.parameters.get("stats_every")
    return order.next_epoch(step) if every is None else (step // every + 1) * every


def _warn_of_rounding(part: Loss, order: StepOrder, step: int) -> None:
    following = next_pass(part, order, step)
    then = f"the next pass is before step {following + 1}"
    if following >= order.end:
        then = f"no other pass is due in this run of {order.step_count} steps: lower loss.stats_every"
    warn(
        f"{part.name}: on the training set policy and reference differ by rounding alone, which changes no "
        f"statistics; {then}"
    )
