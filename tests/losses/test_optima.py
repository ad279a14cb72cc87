"""Where the losses with a finite optimum come to rest."""

from __future__ import annotations

from dataclasses import replace
from math import exp, log

import pytest
import torch
from support.pairs import A, B, Models, gradient, logps, nls, ratios
from torch import Tensor

from pairkit.losses import Loss, build


def settled(loss: Loss, start: Models) -> tuple[float, float, float]:
    """(a, b, loss) where an optimizer comes to rest, from log-ratios that are far from it."""
    policy, reference = start
    sums = policy.sum.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [sums], max_iter=500, tolerance_grad=1e-12, tolerance_change=1e-15, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(replace(policy, sum=sums), reference).losses.sum()
        value.backward()
        return value

    optimizer.step(closure)
    a, b = (sums.detach() - reference.sum)[0].tolist()
    return a, b, loss(replace(policy, sum=sums.detach()), reference).losses.item()


@pytest.mark.parametrize("start", [A, B], ids=["A", "B"])
def test_finite_optima(start: Models) -> None:
    a, b, least = settled(build("ipo", beta=0.2, reduction="sum"), start)
    assert (a - b, least) == pytest.approx((2.5, 0.0), abs=1e-6)
    a, b, least = settled(build("ipo", beta=0.2), start)
    assert (a / 20 - b / 25, least) == pytest.approx((2.5, 0.0), abs=1e-6)
    assert settled(build("sppo", beta=0.1), start) == pytest.approx((5.0, -5.0, 0.0), abs=1e-6)
    for smoothing in (1e-3, 0.2):
        a, b, least = settled(build("exo", beta=0.5, label_smoothing=smoothing), start)
        target = log((1 - smoothing) / smoothing) / 0.5
        assert (a - b, least) == pytest.approx((target, 0.0), abs=1e-5)
    a, b, _ = settled(build("dpo", beta=0.5, label_smoothing=0.2), start)
    assert a - b == pytest.approx(log(4) / 0.5, abs=1e-6)


@pytest.mark.parametrize("start", [A, B], ids=["A", "B"])
@pytest.mark.parametrize("z_clip", [None, -0.1])
def test_the_optimum_of_spo(start: Models, z_clip: float | None) -> None:
    """b = -1 / alpha, a = 1 / beta - 1 / alpha, loss -2 / e."""
    optimum = settled(build("spo", beta=0.2, alpha=0.5, z_clip=z_clip), start)
    assert optimum == pytest.approx((5 - 2, -2, -2 / exp(1)), abs=1e-5)


@pytest.mark.parametrize("start", [A, B], ids=["A", "B"])
def test_the_optimum_of_stapo_is_the_middle_of_its_margins(start: Models) -> None:
    reference = start[1]
    a, b, least = settled(build("stapo", logit="dpo", left_margin=1, right_margin=4), start)
    assert (a - b, least) == pytest.approx((2.5, 2 * nls(2 * 1.5)), abs=1e-6)
    a, b, least = settled(build("stapo"), start)
    chosen, rejected = reference.sum[0].tolist()
    assert ((chosen + a) / 20 - (rejected + b) / 25, least) == pytest.approx((0.7, 2 * nls(0.2)), abs=1e-6)


def test_spo_pulls_back_beyond_its_optimum() -> None:
    """f'(z) = (z - 1) exp(-z): down to z = 1, up beyond, least steep where z is large."""
    loss = build("spo", beta=1.0, alpha=0.0)
    slopes = [gradient(loss, ratios(z, 0.0))[0, 0].item() for z in (0.5, 1.0, 2.0, 50.0)]
    assert slopes == pytest.approx([-0.5 * exp(-0.5), 0.0, exp(-2), 49 * exp(-50)])


@pytest.mark.parametrize("z_clip", [-70.0, -5.0, 0.0])
def test_spo_continues_as_a_tangent_below_its_clip(z_clip: float) -> None:
    loss = build("spo", beta=1.0, alpha=0.0, z_clip=z_clip)
    lowest = max(z_clip, -60.0)
    slope = (lowest - 1) * exp(-lowest)
    for below in (0.0, 1.0, 100.0):
        given = ratios(lowest - below, 0.0)
        value = -lowest * exp(-lowest) - below * slope
        assert loss(*given).losses.item() == pytest.approx(value, rel=1e-9)
        assert gradient(loss, given)[0, 0].item() == pytest.approx(slope, rel=1e-9)


@pytest.mark.parametrize("z", [-59.0, -20.0, 0.3, 3.0])
def test_the_tangent_of_spo_is_exact_in_float32(z: float) -> None:
    loss = build("spo", beta=1.0, alpha=0.0)
    policy, reference = logps([[z, 0.0]]), logps([[0.0, 0.0]])
    exact = gradient(loss, (policy, reference))
    single = gradient(loss, (policy, reference), torch.float32)
    torch.testing.assert_close(single.double(), exact, rtol=1e-5, atol=0)
