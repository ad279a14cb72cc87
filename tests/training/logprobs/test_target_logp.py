"""Log-probs slice by slice: those of log_softmax, whatever the slices, and so are their gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from pairkit.training.logprobs import target_logp as module
from pairkit.training.logprobs.target_logp import target_logp

TOKENS, WIDTH, VOCABULARY = 11, 7, 50


def inputs(size: float = 1.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    states, weight, bias = (
        (size * torch.randn(*shape, generator=random)).requires_grad_()
        for shape in ((TOKENS, WIDTH), (VOCABULARY, WIDTH), (VOCABULARY,))
    )
    targets = torch.randint(0, VOCABULARY, (TOKENS,), generator=random)
    targets[:4] = torch.tensor([0, 9, 10, VOCABULARY - 1])  # the ends of slices of ten columns
    return states, weight, bias, targets


def exact(
    states: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, scale: float, softcap: float | None
) -> Tensor:
    logits = scale * (states @ weight.t() + (0 if bias is None else bias))
    logits = logits if softcap is None else softcap * torch.tanh(logits / softcap)
    return log_softmax(logits, dim=-1).gather(1, targets[:, None])[:, 0]


@pytest.mark.parametrize("columns", [1, 10, 49, 50, 1000])
@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize(("scale", "softcap"), [(1.0, None), (0.25, None), (1.0, 2.0), (3.0, 5.0)])
@pytest.mark.parametrize("with_bias", [False, True])
def test_values_and_gradients(
    columns: int, kept: bool, scale: float, softcap: float | None, with_bias: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(module, "SLICE_LOGITS", {"cpu": columns * TOKENS})
    monkeypatch.setattr(module, "KEPT_LOGITS", TOKENS * VOCABULARY if kept else 0)
    states, weight, bias, targets = inputs()
    given: list[Any] = [states, weight, *([bias] if with_bias else [])]
    ours = target_logp(states, weight, bias if with_bias else None, targets, scale=scale, softcap=softcap)
    doubles = [x.detach().double().requires_grad_() for x in given]
    right = exact(*doubles[:2], doubles[2] if with_bias else None, targets, scale, softcap)
    torch.testing.assert_close(ours.double(), right, rtol=1e-5, atol=1e-5)
    weights = torch.linspace(-2, 3, TOKENS)
    found = torch.autograd.grad(ours, given, weights)
    for mine, expected in zip(found, torch.autograd.grad(right, doubles, weights.double()), strict=True):
        torch.testing.assert_close(mine.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kept", [False, True])
def test_logits_of_thousands_are_finite(kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLICE_LOGITS", {"cpu": 10 * TOKENS})
    monkeypatch.setattr(module, "KEPT_LOGITS", TOKENS * VOCABULARY if kept else 0)
    states, weight, bias, targets = inputs(size=50.0)
    ours = target_logp(states, weight, bias, targets)
    assert ours.min() < -1000
    torch.testing.assert_close(ours, exact(states, weight, bias, targets, 1.0, None), rtol=1e-5, atol=1e-3)
    assert all(x.isfinite().all() for x in torch.autograd.grad(ours.sum(), (states, weight, bias)))


def test_frozen_parts_get_no_gradient_and_nothing_is_kept_without_one() -> None:
    states, weight, _, targets = inputs()
    with torch.no_grad():
        assert not target_logp(states, weight, None, targets).requires_grad
    frozen = target_logp(states, weight.detach(), None, targets)
    (found,) = torch.autograd.grad(frozen.sum(), (states,))
    (expected,) = torch.autograd.grad(target_logp(states, weight, None, targets).sum(), (states,))
    assert torch.equal(found, expected)
