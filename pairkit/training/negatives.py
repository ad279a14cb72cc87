"""The columns of a global batch: the preferred completion and the negatives drawn for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pairkit.losses import Logps, Loss, sample_negatives
from pairkit.losses.parameters import resolve
from pairkit.losses.sampling import NEEDS_POLICY, SETTINGS
from pairkit.training.forward import Work, lengths, score_all
from pairkit.training.reference import Sums, as_logps
from pairkit.training.tokens import TokenSet


def sampler_settings(loss: Loss, given: Mapping[str, Any], rejected: str) -> dict[str, Any]:
    """Every setting of the sampler for this loss.

    They are the loss's own where it has them (rnce draws at random), else those given, else what the data
    set's recipe says of rejected completions ("policy" is "mc").
    """
    if loss.spec.sampler:
        default: dict[str, Any] = {} if "sampling" in loss.sampler else {"sampling": "random"}
        return resolve("negatives", SETTINGS, default | dict(loss.sampler))
    sampling = "mc" if rejected == "policy" else rejected
    return resolve("negatives", SETTINGS, {"sampling": sampling} | dict(given))


def draw(
    loss: Loss,
    settings: Mapping[str, Any],
    model: nn.Module,
    sets: Sequence[TokenSet],
    reference: Sums | None,
    seeds: Tensor,
    *,
    tokens_per_micro_batch: int,
) -> list[Work]:
    """The columns that the gradient pass takes of each set, drawn under the model's present weights.

    All completions are scored, without gradient, only where the draw depends on the policy.
    """
    if loss.spec.completions == "first":
        return [Work(item, (0,)) for item in sets]
    every = [Work(item, tuple(range(len(item.columns)))) for item in sets]
    if _no_choice(settings, every):
        return every
    device = next(model.parameters()).device
    length, mask = lengths(every, device)
    policy = Logps(torch.zeros(mask.shape, device=device), length, mask)
    if settings["sampling"] in NEEDS_POLICY:
        policy = _score(model, every, policy, tokens_per_micro_batch)
    known = as_logps(every, reference, device) if reference is not None else None
    drawn = sample_negatives(policy, known, beta=loss.beta, seeds=seeds.to(device), **settings)
    return [
        Work(item, (0, *(column for column in row if column >= 0)))
        for item, row in zip(sets, drawn.tolist(), strict=True)
    ]


def origins(work: Sequence[Work]) -> Counter[str]:
    """How many of the drawn negatives came from where: source, generated, noise."""
    return Counter(item.tokens.columns[column].origin for item in work for column in item.columns[1:])


def _no_choice(settings: Mapping[str, Any], every: Sequence[Work]) -> bool:
    """Whether all negatives are taken whatever is drawn."""
    if settings["sampling"] == "all":
        return not settings["include_chosen"]
    most = max(len(item.columns) for item in every) - 1
    return most <= settings["negatives"] and not (settings["include_chosen"] or settings["replacement"])


def _score(model: nn.Module, every: Sequence[Work], blank: Logps, budget: int) -> Logps:
    sums = blank.sum.clone()
    for rows, scored in score_all(model, every, budget):
        for (position, columns), values in zip(rows, scored.policy.sum, strict=True):
            sums[position, columns[0] : columns[-1] + 1] = values[: len(columns)]
    return Logps(sums, blank.length, blank.mask)
