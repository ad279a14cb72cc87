"""Losses on a pair without a reference.

Pair A: log p of chosen and rejected -40, -45; pair B: -50, -40; lengths 20, 25. The mean log-probs are
-2, -1.8 and -2.5, -1.6.
"""

from __future__ import annotations

from math import exp, expm1, log, log1p

import pytest
import torch
from support.tensors import POLICY, logps, random_logps, value_and_gradient

from pairkit.losses import Logps, build


def test_token_mean_nll_counts_the_tokens_of_the_whole_batch() -> None:
    """NLLs 6 and 2 of 4 and 1 tokens: 8 / 5 nats per token, where a mean of means gives 1.75."""
    policy = logps([[-6.0, -6.0], [-2.0, -2.0]], [[4, 4], [1, 1]])
    result = build("cpo", nll_weight=0.5)(policy)
    assert result.losses.mean().item() == pytest.approx(log(2) + 0.5 * 8 / 5)
    preference, likelihood = result.terms
    assert preference.weights.tolist() == [1.0, 1.0]
    assert (likelihood.values.tolist(), likelihood.weights.tolist()) == ([6.0, 2.0], [4.0, 1.0])
    assert likelihood.coefficient == 0.5
    per_set = build("cpo", nll_weight=0.5, nll_reduction="sum")(policy)
    assert per_set.terms[1].weights.tolist() == [1.0, 1.0]


def test_slic_without_a_violation_is_the_nll_alone() -> None:
    """The hinge is on sums: 5 nats apart at pair A, so that a margin of 5 is just met and one of 6 is not."""
    assert build("slic_hf", delta=5.0, nll_weight=0.0)(POLICY).losses.tolist() == [0.0, 15.0]
    assert build("slic_hf", delta=6.0, nll_weight=0.0)(POLICY).losses.tolist() == [1.0, 16.0]
    _, gradient = value_and_gradient(build("slic_hf", delta=1.0, nll_weight=0.1), POLICY, None)
    assert gradient.tolist() == [[pytest.approx(-0.1), 0.0], [pytest.approx(-1.1), 1.0]]


def test_orpo_odds_are_exact_in_float32() -> None:
    """Against float64, by expm1 near 0 and by log1p far from it."""
    other = -1.0

    def log_odds(x: float) -> float:
        return x - (log(-expm1(x)) if x > -0.5 else log1p(-exp(x)))

    for mean in [-1e-5, -1e-3, -0.1, -0.69, -0.7, -1.0, -5.0, -30.0, -200.0]:
        pair = Logps(torch.tensor([[other, mean]]), torch.ones(1, 2), torch.ones(1, 2, dtype=torch.bool))
        value = build("orpo", odds_weight=1.0)(pair).losses.item() + other
        stored = torch.tensor(mean).item()
        assert value == pytest.approx(log1p(exp(log_odds(stored) - log_odds(other))), rel=2e-6), mean


def test_orpo_of_a_certain_completion_has_a_bounded_gradient() -> None:
    """At m = 0 the odds are infinite: m is held at -1e-6 there, and only the likelihood has a gradient."""
    _, gradient = value_and_gradient(build("orpo"), logps([[0.0, -3.0]], [[4, 4]]), None)
    assert gradient[0, 0].item() == pytest.approx(-1 / 4, rel=1e-3)


@pytest.mark.parametrize("alpha", [-0.5, 0.5, 2.0])
def test_alphapo_by_hand(alpha: float) -> None:
    def reward(mean: float) -> float:
        return (1 - exp(mean) ** -alpha) / alpha

    expected = [log1p(exp(-(1.5 * (reward(w) - reward(lo)) - 0.2))) for w, lo in [(-2.0, -1.8), (-2.5, -1.6)]]
    losses = build("alphapo", alpha=alpha, beta=1.5, gamma=0.2)(POLICY).losses
    assert losses.tolist() == pytest.approx(expected, rel=1e-12)


def test_alphapo_with_alpha_zero_is_simpo() -> None:
    policy, _ = random_logps(6)
    simpo = build("simpo", beta=2.5, gamma=0.1)(policy).losses
    assert torch.allclose(build("alphapo", alpha=0.0)(policy).losses, simpo, atol=1e-12, rtol=0)
    for alpha in (1e-9, -1e-9):
        assert torch.allclose(build("alphapo", alpha=alpha)(policy).losses, simpo, atol=1e-7, rtol=0)


def test_cpo_simpo_without_nll_is_simpo() -> None:
    policy, _ = random_logps(6)
    simpo = build("simpo", beta=3.0, gamma=1.2)(policy).losses
    assert torch.allclose(build("cpo_simpo", beta=3.0, gamma=1.2, nll_weight=0.0)(policy).losses, simpo)


def test_simper_depends_on_perplexities_only() -> None:
    """exp(m): 4 tokens at 1/2 each against 2 tokens at 1/4 each."""
    policy = logps([[4 * log(0.5), 2 * log(0.25)]], [[4, 2]])
    assert build("simper")(policy).losses.tolist() == pytest.approx([-0.25])
