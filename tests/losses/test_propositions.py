"""What the papers prove, on finite spaces where every sum is exact."""

from __future__ import annotations

from itertools import product
from math import log, prod

import pytest
import torch
from support.tensors import random_logps
from torch import Tensor

from pairkit.losses import Logps, build

BETA = 0.7
RANDOM = torch.Generator().manual_seed(3)
THETA, REFERENCE, PROPOSAL = (torch.randn(5, generator=RANDOM, dtype=torch.float64) for _ in range(3))
MU = PROPOSAL.softmax(0)  # of the five completions of a prompt


def log_ratios(theta: Tensor) -> Tensor:
    return theta.log_softmax(0) - REFERENCE.log_softmax(0)


def gradient_of_log_z() -> Tensor:
    """Differentiate log Z, Z = sum of mu exp(beta r) over all completions."""
    theta = THETA.clone().requires_grad_()
    torch.logsumexp(MU.log() + BETA * log_ratios(theta), dim=0).backward()
    assert theta.grad is not None
    return theta.grad


def expected_gradient(first: Tensor, negatives: int) -> Tensor:
    """Average the gradient of rnce's estimate of log Z, with y_0 ~ first and the negatives ~ mu.

    rnce is -beta r(y_0) + log of the sum: adding beta r(y_0) leaves the estimate.
    """
    rows = list(product(range(5), repeat=negatives + 1))
    weights = [float(first[row[0]]) * prod(float(MU[i]) for i in row[1:]) for row in rows]
    chances = torch.tensor(weights, dtype=torch.float64)
    index = torch.tensor(rows)  # [5^(M+1), M+1]
    theta = THETA.clone().requires_grad_()
    ones = torch.ones_like(index)
    policy = Logps(theta.log_softmax(0)[index], ones, ones.bool())
    reference = Logps(REFERENCE.log_softmax(0)[index], ones, ones.bool())
    losses = build("rnce", beta=BETA)(policy, reference).losses + BETA * log_ratios(theta)[index[:, 0]]
    (chances * losses).sum().backward()
    assert theta.grad is not None
    return theta.grad


@pytest.mark.parametrize("negatives", [1, 2, 3])
def test_the_gradient_of_mcpo_is_unbiased_for_samples_of_its_model_only(negatives: int) -> None:
    """Proposition 3.3 of MC-PO: y_0 ~ p, proportional to mu exp(beta r), which is not the policy itself."""
    model = (MU.log() + BETA * log_ratios(THETA)).softmax(0)
    exact = gradient_of_log_z()
    torch.testing.assert_close(expected_gradient(model, negatives), exact, rtol=0, atol=1e-12)
    biased = expected_gradient(THETA.softmax(0), negatives)
    assert float((biased - exact).norm()) > 0.01


def test_dpo_with_a_uniform_reference_is_simpo_of_sums_with_a_margin_of_lengths() -> None:
    """Theorem 3.1 of alpha-DPO, with its margin: beta log|V| (|rejected| - |chosen|), no constant."""
    policy, _ = random_logps(8)
    uniform = Logps(-log(1000) * policy.length.double(), policy.length, policy.mask)
    dpo = build("dpo", beta=0.1)(policy, uniform).losses
    for row in range(8):
        longer = int(policy.length[row, 1] - policy.length[row, 0])
        simpo = build("simpo", beta=0.1, gamma=0.1 * log(1000) * longer, length_normalized=False)
        one = policy.rows(torch.tensor([row]))
        assert simpo(one).losses.item() == pytest.approx(dpo[row].item(), rel=1e-12)
