"""Values, gradients and identities of the losses.

The golden numbers are worked by hand from the formulas in float64. Pair A: log p of chosen and rejected
-40, -45, reference -42, -44, lengths 20, 25; pair B: -50, -40, reference -48, -43, same lengths.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pairkit.errors import RecipeError
from pairkit.losses import LOSSES, Logps, build
from pairkit.losses.parameters import Number


def logps(sums: list[list[float]], lengths: list[list[int]], mask: Any = None) -> Logps:
    total = torch.tensor(sums, dtype=torch.float64)
    present = torch.ones_like(total, dtype=torch.bool) if mask is None else torch.tensor(mask)
    return Logps(total, torch.tensor(lengths), present)


LENGTHS = [[20, 25], [20, 25]]
POLICY = logps([[-40.0, -45.0], [-50.0, -40.0]], LENGTHS)
REFERENCE = logps([[-42.0, -44.0], [-48.0, -43.0]], LENGTHS)

GOLDEN = [
    # D = 3 and -5: -log sigmoid(0.3), -log sigmoid(-0.5)
    ("dpo", {"beta": 0.1}, 0.55435524, 0.97407698),
    ("dpo", {"beta": 0.1, "label_smoothing": 0.1}, 0.58435524, 0.92407698),
    # m = -2, -1.8 and -2.5, -1.6; gamma = 2.5 x 0.55
    ("simpo", {"beta": 2.5, "gamma_beta_ratio": 0.55}, 2.01767506, 3.65130020),
    ("rnce", {"beta": 0.1}, 0.55435524, 0.97407698),
    ("mcpo", {"beta": 0.1}, 0.55435524, 0.97407698),
]


@pytest.mark.parametrize(("name", "keywords", "first", "second"), GOLDEN)
def test_golden_values(name: str, keywords: dict[str, float], first: float, second: float) -> None:
    losses = build(name, **keywords)(POLICY, REFERENCE).losses
    assert losses.tolist() == pytest.approx([first, second], abs=1e-8)


def test_every_loss_has_a_golden_value() -> None:
    assert {row[0] for row in GOLDEN} | {"sft"} == set(LOSSES)


def test_sft_is_the_token_mean_over_the_batch() -> None:
    policy = logps([[-6.0], [-2.0]], [[4], [1]])
    result = build("sft")(policy, None)
    assert result.losses.mean().item() == pytest.approx(8.0 / 5)
    assert result.terms[0].values.tolist() == [6.0, 2.0]
    assert result.terms[0].weights.tolist() == [4.0, 1.0]


def test_rnce_of_four_completions() -> None:
    """Log-ratios 2, -1, 0.5, -3 at beta 0.1: log sum exp(s) - s_0 with s = 0.2, -0.1, 0.05, -0.3."""
    ratios = logps([[2.0, -1.0, 0.5, -3.0]], [[5, 5, 5, 5]])
    zero = logps([[0.0] * 4], [[5, 5, 5, 5]])
    assert build("rnce", beta=0.1)(ratios, zero).losses.item() == pytest.approx(1.1656654132946564, abs=1e-12)


def test_masked_columns_contribute_nothing() -> None:
    full = logps([[-4.0, -5.0, -6.0]], [[2, 2, 2]])
    masked = logps([[-4.0, -5.0, 700.0]], [[2, 2, 9]], [[True, True, False]])
    pair = logps([[-4.0, -5.0]], [[2, 2]])
    zero = logps([[-3.0, -3.0, -3.0]], [[2, 2, 2]])
    loss = build("rnce", beta=0.5)
    assert loss(masked, zero).losses.item() == pytest.approx(
        loss(pair, Logps(zero.sum[:, :2], zero.length[:, :2], zero.mask[:, :2])).losses.item()
    )
    assert loss(full, zero).losses.item() > loss(masked, zero).losses.item()
    values = masked.sum.clone().requires_grad_()
    loss(Logps(values, masked.length, masked.mask), zero).losses.sum().backward()
    assert values.grad is not None
    assert values.grad[0, 2].item() == 0.0


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_by_finite_differences(name: str) -> None:
    loss = build(name)

    def total(values: torch.Tensor) -> torch.Tensor:
        return loss(Logps(values, POLICY.length, POLICY.mask), REFERENCE).losses

    values = POLICY.sum.clone().requires_grad_()
    assert torch.autograd.gradcheck(total, (values,))


@pytest.mark.parametrize("name", LOSSES)
def test_rewards_are_detached_and_the_reference_gets_no_gradient(name: str) -> None:
    policy = Logps(POLICY.sum.clone().requires_grad_(), POLICY.length, POLICY.mask)
    reference = Logps(REFERENCE.sum.clone().requires_grad_(), REFERENCE.length, REFERENCE.mask)
    result = build(name)(policy, reference)
    assert result.rewards.shape == policy.sum.shape
    assert not result.rewards.requires_grad
    result.losses.sum().backward()
    assert reference.sum.grad is None
    assert result.losses.mean().item() == pytest.approx(
        sum(t.coefficient * (t.values.sum() / t.weights.sum()).item() for t in result.terms)
    )


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "sft"])
@pytest.mark.parametrize("ratio", [-1000.0, 0.0, 1000.0])
@pytest.mark.parametrize("length", [1, 8192])
def test_finite_at_the_extremes(name: str, ratio: float, length: int) -> None:
    sums = torch.tensor([[-1500.0 + ratio, -1500.0]], requires_grad=True)
    present, lengths = torch.ones(1, 2, dtype=torch.bool), torch.tensor([[length, 1]])
    policy = Logps(sums, lengths, present)
    losses = build(name)(policy, Logps(torch.full((1, 2), -1500.0), lengths, present)).losses
    losses.sum().backward()
    assert torch.isfinite(losses).all()
    assert sums.grad is not None
    assert torch.isfinite(sums.grad).all()


@given(st.floats(-50, 50), st.floats(-50, 50), st.floats(0.01, 5))
def test_dpo_is_rnce_with_one_negative_and_falls_with_the_margin(a: float, b: float, beta: float) -> None:
    policy, zero = logps([[a, b], [a + 1.0, b]], [[3, 3], [3, 3]]), logps([[0.0] * 2] * 2, [[3, 3], [3, 3]])
    dpo, rnce = build("dpo", beta=beta)(policy, zero), build("rnce", beta=beta)(policy, zero)
    assert dpo.losses.tolist() == pytest.approx(rnce.losses.tolist(), rel=1e-9, abs=1e-12)
    assert dpo.losses[1] <= dpo.losses[0]


def test_all_proposals_are_the_default() -> None:
    assert build("mcpo", proposals="all").sampler == build("mcpo").sampler
    assert build("mcpo", proposals=2).sampler["proposals"] == 2


def test_gamma_is_beta_times_the_ratio() -> None:
    by_ratio = build("simpo", beta=4.0, gamma_beta_ratio=0.5)(POLICY, None)
    by_gamma = build("simpo", beta=4.0, gamma=2.0)(POLICY, None)
    assert torch.equal(by_ratio.losses, by_gamma.losses)


@pytest.mark.parametrize(
    ("name", "keywords", "message"),
    [
        ("dop", {}, "did you mean 'dpo'"),
        ("dpo", {"betta": 1.0}, "did you mean 'beta'"),
        ("dpo", {"beta": 0.0}, "dpo.beta is in (0, inf)"),
        ("dpo", {"beta": float("nan")}, "is a number"),
        ("dpo", {"beta": "high"}, "is a number"),
        ("dpo", {"label_smoothing": 0.5}, "is in [0, 0.5)"),
        ("simpo", {"gamma": 1.0, "gamma_beta_ratio": 0.5}, "give one of them"),
        ("mcpo", {"sampling": "hard"}, "value of mcpo.sampling"),
        ("mcpo", {"sampling": "worst"}, "value of mcpo.sampling"),
        ("mcpo", {"proposals": "some"}, "whole number of at least 1"),
        ("mcpo", {"negatives": 0}, "whole number of at least 1"),
        ("rnce", {"sampling": "mc"}, "unknown keyword of rnce"),
    ],
)
def test_bad_hyperparameters(name: str, keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as error:
        build(name, **keywords)
    assert message in str(error.value)


def test_bad_tensors() -> None:
    ones = torch.ones(1, 2)
    present = ones.bool()
    with pytest.raises(ValueError, match="shape"):
        Logps(ones, torch.ones(1, 3), present)
    with pytest.raises(ValueError, match="float32"):
        Logps(ones.bfloat16(), ones.int(), present)
    with pytest.raises(ValueError, match="bool"):
        Logps(ones, ones.int(), ones)
    with pytest.raises(ValueError, match="reference"):
        build("dpo")(POLICY, None)
    with pytest.raises(ValueError, match="2 completions"):
        build("dpo")(logps([[1.0] * 3], [[1] * 3]), logps([[1.0] * 3], [[1] * 3]))


def test_defaults_lie_in_their_own_range() -> None:
    for name, spec in LOSSES.items():
        for key, parameter in {**spec.parameters, **spec.sampler}.items():
            assert parameter.check(f"{name}.{key}", parameter.default) == parameter.default
    assert Number(None).range == "(-inf, inf)"
