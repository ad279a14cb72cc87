"""Losses on sorted batches: aot, aot_unpaired.

Three pairs, ten tokens each. Differences of the policy x = 5, -10, 2, of the reference y = 2, -5, 4.5;
log-ratios of the chosen completions a = 2, -2, 1, of the rejected ones b = -1, 3, 3.5.
"""

from __future__ import annotations

from math import exp, log1p

import pytest
import torch
from support.tensors import in_parts, logps, random_logps, value_and_gradient, with_sum
from torch import Tensor
from torch.nn.functional import logsigmoid

from pairkit.losses import Logps, Loss, build

POLICY = logps([[-40.0, -45.0], [-50.0, -40.0], [-30.0, -32.0]], [[10, 10]] * 3)
REFERENCE = logps([[-42.0, -44.0], [-48.0, -43.0], [-31.0, -35.5]], [[10, 10]] * 3)
NAMES = ["aot", "aot_unpaired"]


def single(name: str, **keywords: float) -> Loss:
    loss = build(name, **keywords)
    assert isinstance(loss, Loss)
    return loss


def logistic(x: float, smoothing: float = 0.0) -> float:
    return (1 - smoothing) * log1p(exp(-x)) + smoothing * log1p(exp(x))


def by_sorting(name: str, policy: Logps, reference: Logps, beta: float, smoothing: float) -> Tensor:
    """The sum over the batch as the paper has it, through a sort that autograd differentiates."""
    if name == "aot":
        first, second = (logps_.sum[:, 0] - logps_.sum[:, 1] for logps_ in (policy, reference))
    else:
        first, second = (policy.sum - reference.sum).unbind(dim=1)
    gap = beta * (first.sort().values - second.sort().values)
    return -((1 - smoothing) * logsigmoid(gap) + smoothing * logsigmoid(-gap)).sum()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_aot_of_three_pairs(smoothing: float) -> None:
    """Sorted x: -10 (row 1), 2 (row 2), 5 (row 0); sorted y: -5, 2, 4.5."""
    losses = build("aot", beta=0.1, label_smoothing=smoothing)(POLICY, REFERENCE).losses
    expected = [logistic(x, smoothing) for x in (0.05, -0.5, 0.0)]
    assert losses.tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_aot_unpaired_of_three_pairs(smoothing: float) -> None:
    """Sorted a: -2 (row 1), 1 (row 2), 2 (row 0); sorted b: -1 (row 0), 3 (row 1), 3.5 (row 2).

    Matches: (a of 1, b of 0) -1, (a of 2, b of 1) -2, (a of 0, b of 2) -1.5; each row has two halves.
    """
    losses = build("aot_unpaired", beta=0.1, label_smoothing=smoothing)(POLICY, REFERENCE).losses
    first, second, third = (logistic(x, smoothing) for x in (-0.1, -0.2, -0.15))
    expected = [(third + first) / 2, (first + second) / 2, (second + third) / 2]
    assert losses.tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_sum_and_gradient_are_those_of_the_sorted_batch(name: str, smoothing: float) -> None:
    policy, reference = random_logps(11, seed=1)
    loss = single(name, beta=0.2, label_smoothing=smoothing)
    losses, gradient = value_and_gradient(loss, policy, reference)
    total = policy.sum.clone().requires_grad_()
    expected = by_sorting(name, with_sum(policy, total), reference, 0.2, smoothing)
    expected.backward()
    assert losses.sum().item() == pytest.approx(expected.item(), rel=1e-12)
    assert total.grad is not None
    assert torch.allclose(gradient, total.grad, atol=1e-14, rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_gradients_by_finite_differences(name: str, smoothing: float) -> None:
    """Bare calls, so that the batch is sorted again at every step."""
    policy, reference = random_logps(6, seed=2)
    loss = build(name, beta=0.2, label_smoothing=smoothing)
    total = policy.sum.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(with_sum(policy, x), reference).losses.sum(), (total,))


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_one_is_dpo(name: str) -> None:
    policy, reference = random_logps(1)
    losses, gradient = value_and_gradient(single(name, beta=0.3, label_smoothing=0.1), policy, reference)
    dpo, dpo_gradient = value_and_gradient(single("dpo", beta=0.3, label_smoothing=0.1), policy, reference)
    assert torch.allclose(losses, dpo)
    assert torch.allclose(gradient, dpo_gradient)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_in_parts_has_the_same_objective_and_gradient(name: str) -> None:
    policy, reference = random_logps(9, seed=3)
    loss = single(name, beta=0.2, label_smoothing=0.1)
    objective, gradient = in_parts(loss, policy, reference, torch.arange(9))
    losses, whole = value_and_gradient(loss, policy, reference)
    assert objective.item() == pytest.approx(losses.mean().item(), rel=1e-12)
    assert torch.allclose(gradient, whole / 9, atol=1e-14, rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_the_rows_does_not_matter(name: str) -> None:
    policy, reference = random_logps(9, seed=3)
    order = torch.tensor([4, 0, 8, 2, 6, 1, 3, 7, 5])
    losses = build(name, beta=0.2)(policy, reference).losses
    moved = build(name, beta=0.2)(policy.rows(order), reference.rows(order)).losses
    assert torch.allclose(moved, losses[order], atol=1e-14, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_the_first_step(name: str) -> None:
    """Policy and reference the same: all log-ratios are 0, all matches are ties, every loss is log 2."""
    policy, _ = random_logps(5)
    losses, gradient = value_and_gradient(single(name), policy, policy)
    assert losses.tolist() == pytest.approx([logistic(0.0)] * 5)
    expected = torch.tensor([[-0.005, 0.005]] * 5, dtype=torch.float64)
    assert torch.allclose(gradient, expected, atol=1e-14, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_rewards_and_observed_statistics(name: str) -> None:
    result = build(name, beta=0.1)(POLICY, REFERENCE)
    assert torch.allclose(result.rewards, 0.1 * (POLICY.sum - REFERENCE.sum))
    assert build(name).state_dict() == {}
    assert (
        build(name).eval()(POLICY, REFERENCE).losses.tolist()
        == build(name)(POLICY, REFERENCE).losses.tolist()
    )
