"""Gradients of the cases of `loss_cases`: by autograd, and against finite differences."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from support.loss_cases import Case
from torch import Tensor


def gradient(one: Case) -> Tensor:
    """Compute the gradient of the sum of the losses with respect to the policy's sums, [B, K]."""
    leaves = one.leaves()
    one.of(leaves)().losses.sum().backward()
    assert leaves["sum"].grad is not None
    return leaves["sum"].grad


def finite(one: Case) -> bool:
    """Check that the loss of each set and all gradients are finite."""
    leaves = one.leaves()
    losses = one.of(leaves)().losses
    losses.sum().backward()
    gradients = [value.grad for value in leaves.values() if value.grad is not None]
    return bool(losses.isfinite().all()) and all(grad.isfinite().all() for grad in gradients)


@contextmanager
def held(tape: list[Tensor], *, record: bool) -> Iterator[None]:
    """Record what `Tensor.detach` returns, or replay the records in order."""
    plain = Tensor.detach
    position = iter(range(len(tape)))

    def detach(tensor: Tensor) -> Tensor:
        if not record:
            return tape[next(position)]
        tape.append(plain(tensor).clone())
        return tape[-1]

    Tensor.detach = detach  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        Tensor.detach = plain  # type: ignore[method-assign]


def gradients_agree(one: Case, *, hold: bool) -> bool:
    """Compare autograd's gradient of every set's loss with finite differences.

    Args:
        hold: whether detached values are those of the base point at every point.
    """
    leaves = one.leaves()
    start = copy.deepcopy(one.loss)

    def losses(*values: Tensor) -> Tensor:
        torch.manual_seed(0)
        changed = one.of(dict(zip(leaves, values, strict=True)))
        return replace(changed, loss=copy.deepcopy(start))().losses

    if not hold:
        return torch.autograd.gradcheck(losses, tuple(leaves.values()), raise_exception=False)
    tape: list[Tensor] = []
    with held(tape, record=True):
        losses(*leaves.values())

    def replayed(*values: Tensor) -> Tensor:
        with held(tape, record=False):
            return losses(*values)

    return torch.autograd.gradcheck(replayed, tuple(leaves.values()), raise_exception=False)
