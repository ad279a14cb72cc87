"""The KL of a token: exact where policy and reference nearly agree, as in the first steps of a run."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import kl_div, log_softmax

from pairkit.training.logprobs.head import statistics_from_logits

STATISTICS = ("logp", "token_kl", "reference")


def logits(apart: float, scale: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    one, noise = (torch.randn(50, 4000, generator=random) for _ in range(2))
    return scale * one, scale * one + apart * noise


def token_kl(policy: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    targets = torch.zeros(len(policy), dtype=torch.int64)
    return statistics_from_logits(STATISTICS, policy, targets, reference)[1]


def exact(policy: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Compute the same of the same logits in float64, by torch."""
    p, q = (log_softmax(one.double(), dim=-1) for one in (reference, policy))
    return kl_div(q, p, reduction="none", log_target=True).sum(dim=-1)


@pytest.mark.parametrize(
    ("apart", "relative"), [(1e-3, 3e-3), (1e-2, 1e-3), (0.1, 1e-4), (1.0, 1e-5), (30.0, 1e-5)]
)
def test_token_kl_has_digits_of_its_own(apart: float, relative: float) -> None:
    """Log-probs of float32 are rounded by 1e-6: a sum of them would leave nothing of a KL of 5e-7."""
    policy, reference = logits(apart)
    torch.testing.assert_close(
        token_kl(policy, reference).double(), exact(policy, reference), rtol=relative, atol=0
    )


def test_equal_distributions_have_a_kl_of_zero() -> None:
    policy, _ = logits(0.0)
    shifted = policy + 2.0  # the same distribution, with other rounding
    assert token_kl(policy, policy).abs().max() == 0
    assert token_kl(policy, shifted).abs().max() < 1e-12


@pytest.mark.parametrize("apart", [1e-2, 1.0, 100.0])
def test_the_gradient_is_the_difference_of_the_probabilities(apart: float) -> None:
    policy, reference = logits(apart)
    policy.requires_grad_()
    token_kl(policy, reference).sum().backward()
    expected = policy.detach().softmax(dim=-1) - reference.softmax(dim=-1)
    torch.testing.assert_close(policy.grad, expected, rtol=1e-3, atol=1e-6)
