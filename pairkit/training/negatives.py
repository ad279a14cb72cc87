"""The columns of a global batch: the preferred completion and the negatives drawn for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pairkit.losses import Logps, Loss, WeightedSum, sample_negatives
from pairkit.losses.parameters import Parameter, resolve
from pairkit.losses.sampling import NEEDS_POLICY, SETTINGS
from pairkit.training.examples import Split, examples
from pairkit.training.forward import Scored, Work, lengths
from pairkit.training.ranks import CPU

Score = Callable[[Sequence[Work]], Scored]  # a scoring pass of these columns under the present weights


def ranges(loss: Loss | WeightedSum) -> dict[str, Parameter]:
    """The sampler's settings, with the range of the loss's own keyword where it has one of that name."""
    own = (part.spec.sampler for _, part in loss.parts)
    return SETTINGS | {key: parameter for sampler in own for key, parameter in sampler.items()}


def sampler_settings(loss: Loss | WeightedSum, given: Mapping[str, Any], rejected: str) -> dict[str, Any]:
    """Every setting of the sampler for this loss.

    Those given come first, then the loss's own (rnce draws at random). Of the others a loss on sets takes
    every completion, unless something is given; a pairwise loss what the data set's recipe says of rejected
    completions ("policy" is "mc").
    """
    sampling = "mc" if rejected == "policy" else rejected
    if loss.completions == "set" and not given:
        sampling = "all"
    if loss.sampler:
        sampling = loss.sampler.get("sampling", "random")
    return resolve("negatives", ranges(loss), {"sampling": sampling, **loss.sampler, **given})


def draw(
    loss: Loss | WeightedSum,
    settings: Mapping[str, Any],
    split: Split,
    rows: Sequence[int],
    seeds: Tensor,
    score: Score,
) -> tuple[list[Work], Scored | None]:
    """The columns that the gradient pass takes of some sets, drawn under the model's present weights.

    Returns:
        The columns, and their log-probs where the draw had to know them: all completions are scored only
        where it depends on the policy.
    """
    sets = [split.sets[i] for i in rows]
    if loss.completions == "first":
        return [Work(item, (0,)) for item in sets], None
    every = [Work(item, tuple(range(len(item.columns)))) for item in sets]
    if _no_choice(settings, every):
        return every, None
    scored = score(every) if settings["sampling"] in NEEDS_POLICY else None
    length, mask = lengths(every)
    policy = scored.policy if scored else Logps(torch.zeros(mask.shape), length, mask)
    known = scored.reference if scored else None
    if known is None:
        known = examples(replace(split, heads=None), rows, every).known(range(len(every)), CPU)
    drawn = sample_negatives(policy, known, beta=loss.beta, seeds=seeds, **settings)
    columns = torch.cat([torch.zeros_like(drawn[:, :1]), drawn], dim=1)
    work = [
        Work(item, tuple(column for column in row if column >= 0))
        for item, row in zip(sets, columns.tolist(), strict=True)
    ]
    if scored is None:
        return work, None
    drawn = columns[:, : max(len(item.columns) for item in work)]  # -1 stands at the end of a row only
    reference = scored.reference.columns(drawn) if scored.reference else None
    return work, Scored(scored.policy.columns(drawn), reference, None)


def origins(work: Sequence[Work]) -> Counter[str]:
    """How many of the drawn negatives came from where: source, generated, noise."""
    return Counter(item.tokens.columns[column].origin for item in work for column in item.columns[1:])


def _no_choice(settings: Mapping[str, Any], every: Sequence[Work]) -> bool:
    """Whether all negatives are taken whatever is drawn."""
    if settings["sampling"] == "all":
        return not settings["include_chosen"]
    most = max(len(item.columns) for item in every) - 1
    return most <= settings["negatives"] and not (settings["include_chosen"] or settings["replacement"])
