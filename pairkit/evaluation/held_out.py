"""How a model stands on held-out candidate sets."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from pairkit.losses import Loss
from pairkit.training.forward import Work, lengths, micro_batches, score_with_entropy
from pairkit.training.objective import Averages, apply, term_weights, total
from pairkit.training.reference import Sums, as_logps
from pairkit.training.tokens import TokenSet


def evaluate(
    model: nn.Module,
    loss: Loss,
    sets: Sequence[TokenSet],
    reference: Sums | None,
    *,
    tokens_per_micro_batch: int,
) -> dict[str, float]:
    """Loss, reward accuracy and margin, log-probs of chosen and rejected, token entropy, over all sets.

    Nothing is drawn: every completion below the preferred one is its negative, so that two evaluations
    differ by the model alone. `reward_accuracy` is the share of (chosen, negative) pairs whose implicit
    rewards stand in the right order, a tie counting one half; `entropy` is the mean over sets of the mean
    over the chosen completion's tokens, nats.
    """
    columns = slice(1) if loss.spec.completions == "first" else slice(None)
    work = [Work(item, tuple(range(len(item.columns)))[columns]) for item in sets]
    weights = term_weights(loss, *lengths(work))
    averages, value = Averages(), 0.0
    with torch.no_grad():
        for group in micro_batches(work, tokens_per_micro_batch):
            part = [work[i] for i in group]
            policy, entropy = score_with_entropy(model, part)
            known = reference and as_logps(part, [reference[i] for i in group], policy.sum.device)
            result, margins = apply(loss, policy, known or None)
            value += float(total(result, weights))
            averages.add_pass(policy, margins)
            averages.add("entropy", entropy)
    return {"loss": value} | averages.means()
