"""Figures of completions, pairs and candidates of a step or an evaluation, as `record.figures` logs them.

All of it is computed from the log-probs and gradients of a pass that is made anyway. Numbers stay on the
device, and move to the CPU together when they are logged, because waiting for each would stop the device.

Shapes: B sets of a pass, K completions of the set that has the most.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pairkit.losses import Logps, Loss, WeightedSum
from pairkit.losses.sampling import candidate_weights, effective_candidates
from pairkit.training.distributed.processes import CPU, Processes
from pairkit.training.logprobs.selection import SetSelection
from pairkit.training.step.examples import Examples
from pairkit.training.step.objective import Applied, Inputs

Numbers = npt.NDArray[np.float64]

PERCENTILES = (5, 25, 50, 75, 95)  # of the contrastive logit
# Gradients of two copies of one completion add up to 0 but for the rounding of their log-probs.
CANCELED = 1e-5

# What a completion is, the first row of a pass's table.
ABSENT, CHOSEN, PAIRED, ALONE = range(4)  # alone: labeled undesirable, so that it is rejected without a pair
# The other rows, nats, and nats per token; NaN where there is no reference, or none that runs.
ROWS = ("log_ratio", "log_ratio_per_token", "log_ratio_margin", "log_ratio_margin_per_token", "kl")


class _Collected(NamedTuple):
    """What a process has.

    Attributes:
        completions: `[1 + ROWS, completions]`.
        contrasts: `[pairs]`.
        still: `[sets]`, 1 where a set had no gradient.
        effective, chosen: `[sets that were drawn from]`; `chosen` may have none.
    """

    completions: Numbers
    contrasts: Numbers
    still: Numbers
    effective: Numbers
    chosen: Numbers


class Figures:
    """Sums up the passes of a step, or an evaluation.

    Args:
        loss: what is minimized.
        negatives: every setting of the sampler.
    """

    def __init__(self, loss: Loss | WeightedSum, negatives: Mapping[str, Any]) -> None:
        self._loss, self._negatives = loss, negatives
        self._completions: list[Tensor] = []
        self._contrasts: list[Tensor] = []
        self._still: list[Tensor] = []
        self._effective: list[Tensor] = []
        self._chosen: list[Tensor] = []

    def watch(self, policy: Logps) -> None:
        """Keep the gradients of a pass's log-probs, for `add_pass` after its backward."""
        for tensor in _differentiable(policy):
            tensor.retain_grad()

    def add_pass(self, work: Sequence[SetSelection], tensors: Inputs, outcome: Applied) -> None:
        """Add a pass; with gradients if it was watched and has gone backward."""
        self._completions.append(_table(tensors).flatten(1))
        self._contrasts.append(outcome.contrasts.detach().double())
        if any(tensor.grad is not None for tensor in _differentiable(tensors.policy)):
            self._still.append(_without_gradient(work, tensors.policy))

    def add_draw(self, usable: Examples, policy: Logps, reference: Logps | None) -> None:
        """Add a draw of a step, given the log-probs of all completions that it may take, on the CPU.

        Only one that is made by probability. The log-prob of the chosen completion is not known to a draw
        without it.
        """
        if self._negatives["sampling"] == "mc":
            with_chosen = bool(self._negatives["include_chosen"])
            self.add_candidates(policy, reference or usable.sums(CPU), chosen_known=with_chosen)

    def add_candidates(self, policy: Logps, reference: Logps | None, *, chosen_known: bool) -> None:
        """Add the probabilities with which the sampler takes the candidates of some sets.

        Args:
            policy, reference: log-probs of all completions, on the CPU.
            chosen_known: whether that of completion 0 is among them.
        """
        settings = {"beta": self._loss.beta, "weights": self._negatives["weights"]}
        included = bool(self._negatives["include_chosen"])
        drawn_from = policy.mask[:, 1:].any(dim=1)  # [B]
        weights = candidate_weights(policy, reference, include_chosen=included, **settings)
        self._effective.append(effective_candidates(weights[drawn_from]))
        if chosen_known:
            every = candidate_weights(policy, reference, include_chosen=True, **settings)
            self._chosen.append(every[drawn_from, 0])

    def means(self, processes: Processes | None = None) -> dict[str, float]:
        """Return the figures, over all processes; one of nothing is left out.

        Collective where there are several processes.
        """
        parts = processes.collect(self._collected()) if processes else [self._collected()]
        # In the order of ranks, so that every process has the same bits.
        collection = _Collected(*(np.concatenate(arrays, axis=-1) for arrays in zip(*parts, strict=True)))
        with np.errstate(all="ignore"):  # a step that diverges has figures that are not finite
            return dict(_named(collection)) | self._of_state()

    def _of_state(self) -> dict[str, float]:
        return {name: value for _, part in self._loss.parts for name, value in part.figures().items()}

    def _collected(self) -> _Collected:
        return _Collected(
            _numbers(self._completions, np.zeros((1 + len(ROWS), 0))),
            *(
                _numbers(parts, np.zeros(0))
                for parts in (self._contrasts, self._still, self._effective, self._chosen)
            ),
        )


def _numbers(parts: Sequence[Tensor], nothing: Numbers) -> Numbers:
    """Move tensors to the CPU, joined along their last dimension, so that it takes one transfer."""
    return torch.cat(list(parts), dim=-1).cpu().numpy() if parts else nothing


def _table(tensors: Inputs) -> Tensor:
    """Return what is known of each completion, float64 `[1 + ROWS, B, K]`."""
    policy, reference = tensors.policy.detach(), tensors.reference
    mask = policy.mask
    kinds = torch.full_like(policy.sum, PAIRED, dtype=torch.float64)
    kinds[:, 0] = torch.where(tensors.labels, float(CHOSEN), float(ALONE))
    kinds = kinds.masked_fill(~mask, ABSENT)
    missing = torch.full_like(kinds, torch.nan)
    ratio = per_token = missing
    if reference is not None:
        # In double, where the difference of two float32 sums is exact.
        ratio = policy.sum.double() - reference.sum.detach().double()
        per_token = ratio / policy.length.clamp(min=1)
    margins = [values[:, :1] - values for values in (ratio, per_token)]
    divergence = missing if policy.token_kl is None else policy.token_kl.double()
    return torch.stack([kinds, ratio, per_token, *margins, divergence])


def _without_gradient(work: Sequence[SetSelection], policy: Logps) -> Tensor:
    """Return 1 for each set of which no completion has a gradient, float64 `[B]`.

    A completion that was selected twice has the sum of both gradients: a set that draws its chosen completion
    has a constant loss.
    """
    mask = policy.mask
    index = np.zeros(mask.shape, np.int64)
    for row, item in zip(index, work, strict=True):
        row[: len(item.columns)] = item.columns
    places = torch.from_numpy(index).to(mask.device)
    still = torch.ones(len(work), dtype=torch.bool, device=mask.device)
    for tensor in _differentiable(policy):
        if tensor.grad is None:
            continue
        gradient = tensor.grad.detach().double().masked_fill(~mask, 0.0)
        zeros = torch.zeros(len(work), 1 + int(index.max()), dtype=torch.float64, device=mask.device)
        net, size = (zeros.scatter_add(1, places, values) for values in (gradient, gradient.abs()))
        still &= (net.abs() <= CANCELED * size).all(dim=1)
    return still.double()


def _differentiable(policy: Logps) -> list[Tensor]:
    return [tensor for tensor in policy.tensors().values() if tensor.requires_grad]


def _named(collection: _Collected) -> Iterator[tuple[str, float]]:
    kinds, *rows = collection.completions
    sides = {"chosen": kinds == CHOSEN, "rejected": (kinds == PAIRED) | (kinds == ALONE)}
    for name, values in zip(ROWS, rows, strict=True):
        if np.isnan(values[kinds != ABSENT]).all():
            continue
        if "margin" in name:
            yield from _mean(name, values[kinds == PAIRED])
            continue
        for side, where in sides.items():
            yield from _mean(f"kl_{side}" if name == "kl" else f"{side}_{name}", values[where])
    if len(collection.contrasts):
        yield "contrastive_logit", float(collection.contrasts.mean())
        yield "contrastive_logit_sd", float(collection.contrasts.std())
        for percentile, value in zip(
            PERCENTILES, np.percentile(collection.contrasts, PERCENTILES).tolist(), strict=True
        ):
            yield f"contrastive_logit_p{percentile}", value
    yield from _mean("no_gradient", collection.still)
    yield from _mean("effective_candidates", collection.effective)
    yield from _mean("w_chosen", collection.chosen)


def _mean(name: str, values: Numbers) -> Iterator[tuple[str, float]]:
    if len(values):
        yield name, float(values.mean())
