"""amapo: the margin of pairs below the mean of the batch.

Mean log-prob differences of the policy are -0.2 in pair A, -0.9 in pair B; of the reference -0.34 and -0.68.
D, the difference of log-ratios, is 3 and -5.
"""

from __future__ import annotations

from math import exp, sqrt
from statistics import fmean, stdev

import pytest
import torch
from support.tensors import (
    POLICY,
    random_logps,
    single,
    softplus,
    value_and_gradient,
    with_sum,
)

from pairkit.losses import Logps, build


def test_amapo_of_the_golden_pairs() -> None:
    """g = -0.2, -0.9: mean -0.55, deviation 0.7 / sqrt 2. A is above the mean; B's margin is 0.6777."""
    result = build("amapo")(POLICY, None)
    margin = exp(0.35 / (0.7 / sqrt(2)) * -0.55)
    assert margin == pytest.approx(0.67779, abs=1e-5)
    expected = [softplus(2.5 * 0.2), softplus(2.5 * (0.9 + margin))]
    assert result.losses.tolist() == pytest.approx(expected, rel=1e-12)
    assert result.metrics["adaptive_margin"].item() == pytest.approx(margin / 2)
    assert torch.allclose(result.rewards, 2.5 * POLICY.mean)


def test_amapo_of_more_pairs() -> None:
    policy, _ = random_logps(9, seed=6)
    own = [w - lo for w, lo in policy.mean.tolist()]
    mean, std = fmean(own), stdev(own)
    margins = [exp((mean - g) / std * mean) if g < mean else 0.0 for g in own]
    expected = [softplus(-1.5 * (g - m)) for g, m in zip(own, margins, strict=True)]
    assert build("amapo", beta=1.5)(policy, None).losses.tolist() == pytest.approx(expected, rel=1e-9)


def test_amapo_of_one_pair_or_of_equal_ones_has_no_margin() -> None:
    for rows in ([0], [0, 0, 0]):
        some = POLICY.rows(torch.tensor(rows))
        assert build("amapo")(some, None).losses.tolist() == pytest.approx([softplus(0.5)] * len(rows))
    equal = POLICY.rows(torch.tensor([0, 0, 0]))
    rounded = with_sum(equal, equal.sum * (1 + 1e-6 * torch.tensor([[0.0, 1.0], [1.0, 0.0], [-1.0, 1.0]])))
    assert build("amapo")(rounded, None).metrics["adaptive_margin"].item() == 0.0


def test_amapos_margin_is_a_constant() -> None:
    losses, gradient = value_and_gradient(single("amapo"), POLICY, None)
    push = [2.5 * (1 - exp(-value)) for value in losses.tolist()]
    assert gradient.tolist() == [pytest.approx([-p / 20, p / 25]) for p in push]


def test_amapos_exponent_is_clamped() -> None:
    """Differences 400 (three times) and -400 nats per token: mean 200, exponent 1.5 x 200 = 300."""
    policy = Logps(
        torch.tensor([[-1.0, -401.0]] * 3 + [[-401.0, -1.0]]),
        torch.ones(4, 2, dtype=torch.int64),
        torch.ones(4, 2, dtype=torch.bool),
    )
    losses, gradient = value_and_gradient(single("amapo"), policy, None)
    assert losses[3].item() == pytest.approx(2.5 * exp(80), rel=1e-5)
    assert torch.isfinite(losses).all()
    assert gradient[3].tolist() == [-2.5, 2.5]


def test_statistics_of_single_batches_are_observed_also_in_evaluation() -> None:
    policy, _ = random_logps(6)
    assert torch.equal(build("amapo").eval()(policy, None).losses, build("amapo")(policy, None).losses)
