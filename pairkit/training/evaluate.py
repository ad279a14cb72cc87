"""How a model stands on held-out candidate sets."""

from __future__ import annotations

import torch

from pairkit.training.distributed.processes import CPU
from pairkit.training.logprobs.selection import SetSelection
from pairkit.training.step.batch import StepModel
from pairkit.training.step.examples import Split, examples
from pairkit.training.step.objective import Averages, apply, inputs, total


def evaluate(through: StepModel, split: Split) -> dict[str, float]:
    """Loss, reward accuracy and margin, log-probs of chosen and rejected, token entropy, over all sets.

    Nothing is drawn: every completion below the preferred one is its negative, so that two evaluations
    differ by the model alone. Running statistics are frozen; statistics of a batch are those of all sets.
    `reward_accuracy` is the share of (chosen, negative) pairs whose implicit rewards stand in the right
    order, a tie counting one half; `entropy` is the mean over sets of the mean over the chosen completion's
    tokens, nats.
    """
    loss = through.loss
    columns = slice(1) if loss.completions == "first" else slice(None)
    work = [SetSelection(item, tuple(range(len(item.columns)))[columns]) for item in split.sets]
    every = examples(split, range(len(work)), work)
    scored = through.scoring(through.want | {"entropy"})(every.work)
    reference = scored.reference or every.known(CPU)
    loss.eval()
    with torch.no_grad():
        given = inputs(every.work, scored.policy, reference)
        applied = apply(loss, given, None)
    loss.train()
    averages = Averages()
    averages.add_pass(given, applied)
    assert scored.entropy is not None
    averages.add("entropy", scored.entropy[:, 0])
    value = total(applied.terms, [float(term.weights.sum()) for term in applied.terms])
    return {"loss": float(value)} | averages.means()
