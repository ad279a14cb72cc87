"""Evaluation on held-out candidate sets."""

from __future__ import annotations

import torch

from pairkit.training.distributed.processes import CPU
from pairkit.training.step.batch import StepModel
from pairkit.training.step.examples import Split, examples
from pairkit.training.step.objective import Averages, apply, inputs, total
from pairkit.training.step.passes import usable_completions


def evaluate(step_model: StepModel, split: Split) -> dict[str, float]:
    """Measure loss, reward accuracy and margin, log-probs and token entropy over all sets of a split.

    Nothing is sampled: every completion below the preferred one is its negative, because then two evaluations
    differ by the model alone. Running statistics are frozen; statistics of a batch are those of all sets.
    `reward_accuracy` is the share of (chosen, negative) pairs whose implicit rewards are in the right order,
    a tie counting one half; `entropy` is the mean over sets of the mean over the chosen completion's tokens,
    nats.
    """
    loss = step_model.loss
    every = examples(split, range(len(split.sets)), usable_completions(loss, split.sets))
    # Through the same packed and sharded pass as training, so that the two losses can be compared.
    scored = step_model.scoring(step_model.want | step_model.kind.evaluated)(every.work)
    reference = scored.reference or every.reference_logps(CPU)
    loss.eval()
    with torch.no_grad():
        tensors = inputs(every.work, scored.policy, reference)
        applied = apply(loss, tensors, None)
    loss.train()
    averages = Averages(step_model.kind.logged)
    averages.add_pass(tensors, applied)
    if scored.entropy is not None:
        averages.add("entropy", scored.entropy[:, 0])
    # One batch of all sets, so each term is normalized by its own weights.
    value = total(applied.terms, [float(term.weights.sum()) for term in applied.terms])
    return {"loss": float(value)} | averages.means()
