"""alpha_dpo: the adaptive margin, its moving averages and its gradients.

Mean log-prob differences of the policy are -0.2 in pair A, -0.9 in pair B; of the reference -0.34 and -0.68.
D, the difference of log-ratios, is 3 and -5.
"""

from __future__ import annotations

from itertools import product
from math import exp, sqrt
from statistics import fmean, stdev
from typing import Any

import pytest
import torch
from support.loss_cases import in_case
from support.tensors import (
    LENGTHS,
    POLICY,
    REFERENCE,
    logps,
    random_logps,
    single,
    softplus,
    value_and_gradient,
    with_sum,
)

from pairkit.errors import InputError
from pairkit.losses import Logps, build

TOKEN_KL = logps(POLICY.sum, LENGTHS, token_kl=[[2.0, 3.0], [1.0, 4.0]])


def gaps(policy: Logps, reference: Logps) -> list[float]:
    """alpha-DPO's M, worked out one pair at a time."""
    per_token = (policy.sum - reference.sum) / policy.length
    return [chosen - rejected for chosen, rejected in per_token.tolist()]


def test_alpha_dpo_of_the_golden_pairs() -> None:
    """M = 0.14 and -0.22: mean -0.04, deviation 0.36 / sqrt 2, so M* = 1 / sqrt 2 and -1 / sqrt 2."""
    result = build("alpha_dpo")(POLICY, REFERENCE)
    margins = [0.4 + 0.05 / sqrt(2), 0.4 - 0.05 / sqrt(2)]
    expected = [softplus(-10 * (gap - margin)) for gap, margin in zip([-0.2, -0.9], margins, strict=True)]
    assert result.losses.tolist() == pytest.approx(expected, abs=1e-10)
    assert result.losses.tolist() == pytest.approx([6.355292, 12.646449], abs=1e-6)
    assert result.rewards.flatten().tolist() == pytest.approx([-20.0, -18.0, -25.0, -16.0])  # 10 m
    assert result.metrics["adaptive_margin"].item() == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("keywords", "raw"),
    [
        ({"implicit_reference": "ratio"}, [0.14, -0.22]),
        ({"implicit_reference": "policy"}, [-0.2, -0.9]),
        ({"implicit_reference": "reference"}, [-0.34, -0.68]),
        ({"implicit_reference": "inverse_reference"}, [0.34, 0.68]),
        ({"margin": "token_kl"}, [3 / 25 - 2 / 20, 4 / 25 - 1 / 20]),
        ({"margin": "token_kl", "implicit_reference": "policy"}, [3 / 25 - 2 / 20, 4 / 25 - 1 / 20]),
    ],
)
def test_alpha_dpo_margins_as_they_are(keywords: dict[str, str], raw: list[float]) -> None:
    losses = build("alpha_dpo", beta=2.0, alpha=0.5, normalize=False, **keywords)(TOKEN_KL, REFERENCE).losses
    expected = [softplus(-2 * (gap - 0.4 - 0.5 * m)) for gap, m in zip([-0.2, -0.9], raw, strict=True)]
    assert losses.tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("keywords", "raw"),
    [({}, [3.0, -5.0]), ({"implicit_reference": "reference"}, [2.0, -5.0]), ({"margin": "token_kl"}, [1, 3])],
)
def test_alpha_dpo_of_sums(keywords: dict[str, str], raw: list[float]) -> None:
    """Without lengths, in the logit and in M: differences of the policy's sums are 5 and -10."""
    loss = build("alpha_dpo", beta=0.1, alpha=0.5, length_normalized=False, normalize=False, **keywords)
    expected = [softplus(-0.1 * (gap - 0.4 - 0.5 * m)) for gap, m in zip([5.0, -10.0], raw, strict=True)]
    assert loss(TOKEN_KL, REFERENCE).losses.tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("choice", ["ratio", "policy", "reference", "inverse_reference"])
def test_alpha_dpo_standardizes_every_implicit_reference(choice: str) -> None:
    policy, reference = random_logps(7)
    own = [w - lo for w, lo in policy.mean.tolist()]
    other = [w - lo for w, lo in reference.mean.tolist()]
    raw = {
        "ratio": [p - r for p, r in zip(own, other, strict=True)],
        "policy": own,
        "reference": other,
        "inverse_reference": [-r for r in other],
    }[choice]
    standard = [(m - fmean(raw)) / stdev(raw) for m in raw]
    expected = [softplus(-10 * (g - 0.4 - 0.2 * z)) for g, z in zip(own, standard, strict=True)]
    losses = build("alpha_dpo", alpha=0.2, implicit_reference=choice)(policy, reference).losses
    assert losses.tolist() == pytest.approx(expected, rel=1e-9)


def test_alpha_dpo_standardizes_token_kl() -> None:
    """M = 0.02 and 0.11, so M* = -1 / sqrt 2 and 1 / sqrt 2."""
    losses = build("alpha_dpo", margin="token_kl")(TOKEN_KL, REFERENCE).losses
    shift = [-1 / sqrt(2), 1 / sqrt(2)]
    expected = [softplus(-10 * (g - 0.4 - 0.05 * z)) for g, z in zip([-0.2, -0.9], shift, strict=True)]
    assert losses.tolist() == pytest.approx(expected, rel=1e-9)


def test_alpha_dpo_needs_token_kl_only_for_that_margin() -> None:
    assert build("alpha_dpo").needs == {"reference"}
    assert build("alpha_dpo", margin="token_kl").needs == {"reference", "token_kl"}
    with pytest.raises(InputError, match="alpha_dpo needs token_kl"):
        build("alpha_dpo", margin="token_kl")(POLICY, REFERENCE)


def test_alpha_of_the_paper_is_not_multiplied_by_beta() -> None:
    policy, reference = random_logps(7)
    paper = build("alpha_dpo", beta=4.0, alpha=0.2, alpha_scale="paper")(policy, reference).losses
    code = build("alpha_dpo", beta=4.0, alpha=0.05)(policy, reference).losses
    assert torch.allclose(paper, code, atol=1e-12, rtol=0)
    own = [w - lo for w, lo in policy.mean.tolist()]
    raw = gaps(policy, reference)
    standard = [(m - fmean(raw)) / stdev(raw) for m in raw]
    expected = [softplus(-(4 * g - 1.6 - 0.2 * z)) for g, z in zip(own, standard, strict=True)]
    assert paper.tolist() == pytest.approx(expected, rel=1e-9)


def test_without_normalization_both_scales_are_equations_9_and_10() -> None:
    """logit = beta (log p_w - log p_l) - (gamma + alpha M), M = beta (ratio_w - ratio_l)."""
    policy, reference = random_logps(7)
    own = [w - lo for w, lo in policy.mean.tolist()]
    m = [4.0 * gap for gap in gaps(policy, reference)]
    expected = [softplus(-(4.0 * g - (1.6 + 0.2 * shift))) for g, shift in zip(own, m, strict=True)]
    for scale in ("code", "paper"):
        loss = build("alpha_dpo", beta=4.0, alpha=0.2, normalize=False, alpha_scale=scale)
        assert loss(policy, reference).losses.tolist() == pytest.approx(expected, rel=1e-12)


def test_a_margin_of_sums_next_to_a_logit_of_means() -> None:
    """D of the golden pairs is 3 and -5: M* is 1 / sqrt 2 and -1 / sqrt 2 again, and 3, -5 as it is."""
    means = [-0.2, -0.9]
    raw = build("alpha_dpo", alpha=0.01, normalize=False, margin_reduction="sum")(POLICY, REFERENCE).losses
    expected = [softplus(-10 * (g - 0.4 - 0.01 * d)) for g, d in zip(means, [3.0, -5.0], strict=True)]
    assert raw.tolist() == pytest.approx(expected, rel=1e-12)
    policy, reference = random_logps(7)
    d = [w - lo for w, lo in (policy.sum - reference.sum).tolist()]
    standard = [(one - fmean(d)) / stdev(d) for one in d]
    own = [w - lo for w, lo in policy.mean.tolist()]
    expected = [softplus(-10 * (g - 0.4 - 0.2 * z)) for g, z in zip(own, standard, strict=True)]
    losses = build("alpha_dpo", alpha=0.2, margin_reduction="sum")(policy, reference).losses
    assert losses.tolist() == pytest.approx(expected, rel=1e-9)
    of_kl = build("alpha_dpo", alpha=0.01, normalize=False, margin="token_kl", margin_reduction="sum")
    expected = [softplus(-10 * (g - 0.4 - 0.01 * k)) for g, k in zip(means, [1.0, 3.0], strict=True)]
    assert of_kl(TOKEN_KL, REFERENCE).losses.tolist() == pytest.approx(expected, rel=1e-12)
    sums = build("alpha_dpo", beta=0.1, length_normalized=False, normalize=False, margin_reduction="mean")
    expected = [softplus(-0.1 * (g - 0.4 - 0.05 * m)) for g, m in [(5.0, 0.14), (-10.0, -0.22)]]
    assert sums(POLICY, REFERENCE).losses.tolist() == pytest.approx(expected, rel=1e-12)


def test_statistics_of_the_dataset_are_those_of_the_last_observation() -> None:
    loss = single("alpha_dpo", stats="dataset", alpha=0.2)
    for seed in (1, 2):
        loss.observe(*random_logps(40, seed=seed))
    raw = gaps(*random_logps(40, seed=2))
    policy, reference = random_logps(5, seed=3)
    loss.eval()  # as in a step: the batch itself is not observed
    own = [w - lo for w, lo in policy.mean.tolist()]
    standard = [(m - fmean(raw)) / stdev(raw) for m in gaps(policy, reference)]
    expected = [softplus(-10 * (g - 0.4 - 0.2 * z)) for g, z in zip(own, standard, strict=True)]
    assert loss(policy, reference).losses.tolist() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    "keywords",
    [{}, {"stats": "official"}, {"stats": "dataset"}, {"normalize": False}, {"margin_reduction": "sum"}],
)
@pytest.mark.parametrize("normalized", [True, False])
def test_alpha_dpo_without_alpha_is_simpo(keywords: dict[str, Any], normalized: bool) -> None:
    policy, reference = random_logps(6)
    simpo = build("simpo", beta=10.0, gamma_beta_ratio=0.4, length_normalized=normalized)(policy)
    alpha = build("alpha_dpo", alpha=0.0, length_normalized=normalized, **keywords)(policy, reference)
    assert torch.allclose(alpha.losses, simpo.losses, atol=1e-12, rtol=0)
    assert torch.equal(alpha.rewards, simpo.rewards)


def alpha_dpo_history(stats: str) -> list[tuple[list[float], list[float]]]:
    """Return (losses, expected losses) of three batches in turn; the averages are computed here again."""
    loss, mean, std, history = build("alpha_dpo", stats=stats, alpha=0.1, momentum=0.8), 0.0, 0.0, []
    for step in range(1, 4):
        policy, reference = random_logps(3 + step, seed=step)
        raw = gaps(policy, reference)
        mean, std = 0.8 * mean + 0.2 * fmean(raw), 0.8 * std + 0.2 * stdev(raw)
        weight = 1.0 if stats == "official" else 1 - 0.8**step
        standard = [(m - mean / weight) / (std / weight) for m in raw]
        own = [w - lo for w, lo in policy.mean.tolist()]
        expected = [softplus(-10 * (g - 0.4 - 0.1 * z)) for g, z in zip(own, standard, strict=True)]
        history.append((loss(policy, reference).losses.tolist(), expected))
    return history


@pytest.mark.parametrize("stats", ["corrected", "official"])
def test_alpha_dpo_moving_averages(stats: str) -> None:
    for losses, expected in alpha_dpo_history(stats):
        assert losses == pytest.approx(expected, rel=1e-9)


def test_official_statistics_inflate_the_first_margin() -> None:
    """A tenth of the deviation after one batch: M* of the golden pairs is (M + 0.004) / 0.0254558."""
    losses = build("alpha_dpo", stats="official")(POLICY, REFERENCE).losses
    std = 0.036 / sqrt(2)
    shift = [(0.14 + 0.004) / std, (-0.22 + 0.004) / std]
    expected = [softplus(-10 * (g - 0.4 - 0.05 * z)) for g, z in zip([-0.2, -0.9], shift, strict=True)]
    assert losses.tolist() == pytest.approx(expected, rel=1e-9)


def test_official_statistics_are_updated_by_every_call_also_in_evaluation() -> None:
    loss = single("alpha_dpo", stats="official").eval()
    for steps in (1, 2, 3):
        loss(POLICY, REFERENCE)
        assert float(loss.state["steps"]) == steps
    assert float(loss.state["mean"]) == pytest.approx(-0.04 * (1 - 0.9**3))


@pytest.mark.parametrize("stats", ["corrected", "official"])
def test_alpha_dpo_at_the_first_step_is_simpo(stats: str) -> None:
    """Policy and reference are the same: no deviation, and no M*."""
    simpo, simpo_gradient = value_and_gradient(single("simpo", beta=10.0, gamma=4.0), POLICY, None)
    value, gradient = value_and_gradient(single("alpha_dpo", stats=stats), POLICY, POLICY)
    assert torch.allclose(value, simpo)
    assert torch.allclose(gradient, simpo_gradient)


@pytest.mark.parametrize("share", [1e-8, 1e-7, 2e-5, 5e-4])
@pytest.mark.parametrize("normalized", [True, False])
def test_rounding_does_not_count_as_deviation(share: float, normalized: bool) -> None:
    """Shares of the log-probs, as float32 and bfloat16 leave them; it does not enter the averages either."""
    policy, _ = random_logps(64)
    random = torch.Generator().manual_seed(1)
    rounding = 1 + share * torch.randn(policy.sum.shape, generator=random, dtype=torch.float64) / sqrt(2)
    loss = single("alpha_dpo", length_normalized=normalized)
    noisy = with_sum(policy, policy.sum * rounding)
    margin = loss(noisy, policy).metrics["adaptive_margin"].item()
    assert margin == pytest.approx(0.4, abs=1e-12)
    assert float(loss.state["steps"]) == 0
    moved, reference = random_logps(64, seed=2)
    fresh = single("alpha_dpo", length_normalized=normalized)
    assert torch.equal(loss(moved, reference).losses, fresh(moved, reference).losses)
    assert loss.state_dict() == fresh.state_dict()

    official = single("alpha_dpo", stats="official", length_normalized=normalized)
    assert official(noisy, policy).losses.tolist() != pytest.approx(loss(noisy, policy).losses.tolist())


@pytest.mark.parametrize("share", [2e-3, 2e-2])
@pytest.mark.parametrize("name", ["alpha_dpo", "beta_dpo"])
def test_changes_of_a_step_count_as_deviation(name: str, share: float) -> None:
    policy, _ = random_logps(64)
    random = torch.Generator().manual_seed(1)
    step = 1 + share * torch.randn(policy.sum.shape, generator=random, dtype=torch.float64) / sqrt(2)
    loss = single(name)
    loss(with_sum(policy, policy.sum * step), policy)
    assert float(loss.state["steps"]) == 1
    assert float(loss.state["std"]) > 0


def test_rounding_of_a_token_kl_is_that_of_its_sum() -> None:
    """A KL is smaller than the rounding of the log-probs that it is of: 1e-6 of them counts, 1e-8 not."""
    policy, reference = random_logps(8)
    for share, steps in ((1e-6, 1), (1e-8, 0)):
        random = torch.Generator().manual_seed(1)
        kl = share * policy.sum.abs() * torch.rand(policy.sum.shape, generator=random, dtype=torch.float64)
        loss = single("alpha_dpo", margin="token_kl")
        loss(Logps(policy.sum, policy.length, policy.mask, kl), reference)
        assert float(loss.state["steps"]) == steps


@pytest.mark.parametrize("stats", ["corrected", "official"])
def test_one_pair_has_no_deviation(stats: str) -> None:
    loss = single("alpha_dpo", stats=stats)
    first = torch.tensor([0])
    alone = loss(POLICY.rows(first), REFERENCE.rows(first)).losses
    assert torch.allclose(alone, build("simpo", beta=10.0, gamma=4.0)(POLICY.rows(first)).losses)
    assert float(loss.state["steps"]) == 0
    loss(POLICY, REFERENCE)
    before = loss.state_dict()
    loss(POLICY.rows(first), REFERENCE.rows(first))
    assert loss.state_dict() == before


@pytest.mark.parametrize(
    ("choice", "share"), [("ratio", 1.0), ("policy", 1.0), ("reference", 0.0), ("inverse_reference", 0.0)]
)
def test_gradient_flows_through_the_margin_only_without_stop_gradient(choice: str, share: float) -> None:
    for stop, normalize in product((True, False), repeat=2):
        with in_case(choice, {"stop": stop, "normalize": normalize}):
            check_margin_gradient(choice, share, stop, normalize)


def check_margin_gradient(choice: str, share: float, stop: bool, normalize: bool) -> None:
    """z = beta (g - ratio - alpha (M - mean) / std), dM/dg = share: dz/dg = beta (1 - alpha share / std)."""
    policy, reference = random_logps(5, seed=3)
    loss = single("alpha_dpo", alpha=0.1, implicit_reference=choice, stop_gradient=stop, normalize=normalize)
    losses, gradient = value_and_gradient(loss, policy, reference)
    std = float(loss.state["std"]) / 0.1 if normalize else 1.0
    factor = 10 * (1.0 if stop else 1 - 0.1 * share / std)
    for row, value in enumerate(losses.tolist()):
        push = 1 - exp(-value)  # sigmoid(-z) of -log sigmoid(z)
        chosen, rejected = policy.length[row].tolist()
        expected = [-push * factor / chosen, push * factor / rejected]
        assert gradient[row].tolist() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("choice", ["ratio", "policy", "reference"])
def test_gradients_without_stop_gradient_by_finite_differences(choice: str) -> None:
    """Without stop-gradient, and with the statistics held, the loss is an ordinary function."""
    policy, reference = random_logps(5, seed=4)
    loss = build("alpha_dpo", alpha=0.2, implicit_reference=choice, stop_gradient=False)
    loss(policy, reference)
    loss.eval()
    total = policy.sum.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(with_sum(policy, x), reference).losses, (total,))


def test_gradient_through_token_kl() -> None:
    """d loss / d KL: -sigmoid(-z) beta times -alpha / std, +1/|l| for the rejected, -1/|w| for the chosen."""
    kl = torch.tensor([[2.0, 3.0], [1.0, 4.0]], dtype=torch.float64, requires_grad=True)
    policy = Logps(POLICY.sum, POLICY.length, POLICY.mask, kl)
    losses = build("alpha_dpo", margin="token_kl", stop_gradient=False, normalize=False)(
        policy, REFERENCE
    ).losses
    losses.sum().backward()
    push = [10 * 0.05 * (1 - exp(-value)) for value in losses.tolist()]
    assert kl.grad is not None
    assert kl.grad.tolist() == [pytest.approx([-p / 20, p / 25]) for p in push]


def test_with_stop_gradient_only_the_policys_sums_have_gradient() -> None:
    kl = torch.ones(2, 2, dtype=torch.float64, requires_grad=True)
    total = POLICY.sum.clone().requires_grad_()
    policy = Logps(total, POLICY.length, POLICY.mask, kl)
    build("alpha_dpo", margin="token_kl", normalize=False)(policy, REFERENCE).losses.sum().backward()
    assert kl.grad is None
    assert total.grad is not None
