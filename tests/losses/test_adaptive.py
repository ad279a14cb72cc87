"""Losses whose margin, beta or selection follows statistics: alpha_dpo, beta_dpo, amapo.

Mean log-prob differences of the policy are -0.2 in pair A, -0.9 in pair B; of the reference -0.34 and -0.68.
D, the difference of log-ratios, is 3 and -5.
"""

from __future__ import annotations

import json
from collections import Counter
from math import exp, log1p, sqrt
from statistics import fmean, stdev
from typing import Any

import pytest
import torch
from support.tensors import (
    LENGTHS,
    POLICY,
    REFERENCE,
    in_parts,
    logps,
    random_logps,
    value_and_gradient,
    with_sum,
)

from pairkit.errors import InputError, RecipeError
from pairkit.losses import Extras, Logps, Loss, build

TOKEN_KL = logps(POLICY.sum, LENGTHS, token_kl=[[2.0, 3.0], [1.0, 4.0]])


def single(name: str, **keywords: Any) -> Loss:
    loss = build(name, **keywords)
    assert isinstance(loss, Loss)
    return loss


def softplus(x: float) -> float:
    return max(x, 0.0) + log1p(exp(-abs(x)))


def gaps(policy: Logps, reference: Logps) -> list[float]:
    """alpha-DPO's M, worked out one pair at a time."""
    per_token = (policy.sum - reference.sum) / policy.length
    return [chosen - rejected for chosen, rejected in per_token.tolist()]


# --- alpha_dpo


def test_alpha_dpo_of_the_golden_pairs() -> None:
    """M = 0.14 and -0.22: mean -0.04, deviation 0.36 / sqrt 2, so M* = 1 / sqrt 2 and -1 / sqrt 2."""
    result = build("alpha_dpo")(POLICY, REFERENCE)
    margins = [0.4 + 0.05 / sqrt(2), 0.4 - 0.05 / sqrt(2)]
    expected = [softplus(-10 * (gap - margin)) for gap, margin in zip([-0.2, -0.9], margins, strict=True)]
    assert result.losses.tolist() == pytest.approx(expected, abs=1e-10)
    assert result.losses.tolist() == pytest.approx([6.355292, 12.646449], abs=1e-6)
    assert result.rewards.tolist() == [[20.0, -10.0], [-20.0, 30.0]]
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
def test_alpha_dpo_standardizes_whatever_is_compared(choice: str) -> None:
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


def test_alpha_dpo_needs_token_kl_for_that_margin_alone() -> None:
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


@pytest.mark.parametrize("keywords", [{}, {"stats": "official"}, {"normalize": False}])
def test_alpha_dpo_without_alpha_is_simpo(keywords: dict[str, Any]) -> None:
    policy, reference = random_logps(6)
    simpo = build("simpo", beta=10.0, gamma_beta_ratio=0.4)(policy).losses
    alpha = build("alpha_dpo", alpha=0.0, **keywords)(policy, reference).losses
    assert torch.allclose(alpha, simpo, atol=1e-12, rtol=0)


def alpha_dpo_history(stats: str) -> list[tuple[list[float], list[float]]]:
    """(losses, expected losses) of three batches in turn, the averages worked out beside."""
    loss, mean, std, found = build("alpha_dpo", stats=stats, alpha=0.1, momentum=0.8), 0.0, 0.0, []
    for step in range(1, 4):
        policy, reference = random_logps(3 + step, seed=step)
        raw = gaps(policy, reference)
        mean, std = 0.8 * mean + 0.2 * fmean(raw), 0.8 * std + 0.2 * stdev(raw)
        weight = 1.0 if stats == "official" else 1 - 0.8**step
        standard = [(m - mean / weight) / (std / weight) for m in raw]
        own = [w - lo for w, lo in policy.mean.tolist()]
        expected = [softplus(-10 * (g - 0.4 - 0.1 * z)) for g, z in zip(own, standard, strict=True)]
        found.append((loss(policy, reference).losses.tolist(), expected))
    return found


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


def test_official_statistics_move_with_every_call_in_evaluation_too() -> None:
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
def test_rounding_is_no_deviation(share: float, normalized: bool) -> None:
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
def test_what_a_step_moves_is_a_deviation(name: str, share: float) -> None:
    policy, _ = random_logps(64)
    random = torch.Generator().manual_seed(1)
    step = 1 + share * torch.randn(policy.sum.shape, generator=random, dtype=torch.float64) / sqrt(2)
    loss = single(name)
    loss(with_sum(policy, policy.sum * step), policy)
    assert float(loss.state["steps"]) == 1
    assert float(loss.state["std"]) > 0


def test_rounding_of_a_token_kl_is_of_its_own_sum() -> None:
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
@pytest.mark.parametrize("stop", [True, False])
@pytest.mark.parametrize("normalize", [True, False])
def test_gradient_flows_through_the_margin_only_where_it_is_let(
    choice: str, share: float, stop: bool, normalize: bool
) -> None:
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
def test_open_gradients_by_finite_differences(choice: str) -> None:
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


def test_only_the_policys_sums_carry_gradient_with_stop_gradient() -> None:
    kl = torch.ones(2, 2, dtype=torch.float64, requires_grad=True)
    total = POLICY.sum.clone().requires_grad_()
    policy = Logps(total, POLICY.length, POLICY.mask, kl)
    build("alpha_dpo", margin="token_kl", normalize=False)(policy, REFERENCE).losses.sum().backward()
    assert kl.grad is None
    assert total.grad is not None


# --- beta_dpo


def test_beta_dpo_without_filter_and_without_a_is_dpo() -> None:
    policy, reference = random_logps(6)
    loss = build("beta_dpo", a=0.0, filter_fraction=0.0)
    dpo = build("dpo")(policy, reference).losses
    for _ in range(2):
        assert torch.allclose(loss(policy, reference).losses, dpo, atol=1e-12, rtol=0)
    assert torch.allclose(loss.eval()(policy, reference).losses, dpo, atol=1e-12, rtol=0)


def test_beta_dpo_of_two_batches() -> None:
    """Batches with mean D -1 and 4: the mean is -1, then (0.09 x -1 + 0.1 x 4) / 0.19 = 1.631579."""
    loss = build("beta_dpo", a=0.6, filter_fraction=0.0)
    first = loss(POLICY, REFERENCE)
    assert first.losses.tolist() == pytest.approx([softplus(-0.3), softplus(0.5)])
    assert first.metrics["beta"].item() == pytest.approx(0.1)
    second = loss(with_sum(POLICY, POLICY.sum + torch.tensor([[5.0, 0.0]])), REFERENCE)
    beta = 0.1 * (1 + 0.6 * (4 - 0.31 / 0.19))
    assert second.metrics["beta"].item() == pytest.approx(beta)
    assert second.losses.tolist() == pytest.approx([softplus(-8 * beta), softplus(0.0)])
    assert torch.allclose(second.rewards, torch.tensor([[0.7, -0.1], [0.3, 0.3]], dtype=torch.float64))


def test_beta_dpo_follows_the_pairs_that_it_keeps() -> None:
    policy, reference = random_logps(10, seed=2)
    loss = single("beta_dpo", filter_fraction=0.3)
    keep = loss.observe(policy, reference, torch.arange(10))["keep"]
    log_ratio = policy.sum - reference.sum
    raw = (log_ratio[:, 0] - log_ratio[:, 1]).tolist()
    kept = [d for d, k in zip(raw, keep.tolist(), strict=True) if k]
    assert len(kept) == 7
    assert float(loss.state["beta"]) == pytest.approx(0.1 * (1 + 0.6 * (fmean(kept) - fmean(raw))))


def test_beta_dpo_loses_the_pairs_that_are_left_out() -> None:
    policy, reference = random_logps(10, seed=2)
    loss = single("beta_dpo", filter_fraction=0.3)
    rows = loss.observe(policy, reference, torch.arange(10))
    losses, gradient = value_and_gradient(loss, policy, reference, statistics=rows)
    out = rows["keep"] == 0
    assert losses[out].tolist() == [0.0] * 3
    assert gradient[out].abs().max().item() == 0.0
    assert (gradient[~out].abs() > 0).all()
    (term,) = loss(policy, reference, extras=Extras(statistics=rows)).terms
    assert term.weights.tolist() == rows["keep"].tolist()
    # the mean over the pairs kept, however many others there were
    assert losses.mean().item() == pytest.approx((term.values.sum() / 7).item())


@pytest.mark.parametrize(
    ("pairs", "fraction", "kept"),
    [(10, 0.2, 8), (10, 0.0, 10), (20, 0.9, 2), (10, 0.99, 1), (3, 0.5, 1), (5, 0.2, 4), (1, 0.2, 1)],
)
def test_how_many_pairs_are_kept(pairs: int, fraction: float, kept: int) -> None:
    policy, reference = random_logps(pairs)
    keep = single("beta_dpo", filter_fraction=fraction).observe(policy, reference, torch.arange(pairs))[
        "keep"
    ]
    assert keep.sum().item() == kept


def test_a_draw_depends_on_the_seeds_of_the_rows_alone() -> None:
    policy, reference = random_logps(12, seed=5)
    seeds, order = torch.arange(12) * 977, torch.randperm(12, generator=torch.Generator().manual_seed(0))
    loss = single("beta_dpo", filter_fraction=0.5)
    keep = loss.observe(policy, reference, seeds)["keep"]
    loss = single("beta_dpo", filter_fraction=0.5)
    moved = loss.observe(policy.rows(order), reference.rows(order), seeds[order])["keep"]
    assert moved.tolist() == keep[order].tolist()
    others = [
        single("beta_dpo", filter_fraction=0.5).observe(policy, reference, seeds + k) for k in (1, 2, 3)
    ]
    assert any(rows["keep"].tolist() != keep.tolist() for rows in others)


def test_pairs_are_drawn_by_the_gaussian_of_their_distance() -> None:
    """D = 0, 1, 5: mean 2, deviation sqrt 7. One of three is kept, 3,000 times, to within four deviations."""
    zero = logps([[0.0, 0.0]] * 3, [[4, 4]] * 3)
    policy = with_sum(zero, torch.tensor([[0.0, 0.0], [1.0, 0.0], [5.0, 0.0]]).double())
    weights = [exp(-0.5 * (d - 2) ** 2 / 7) for d in (0, 1, 5)]
    counts: Counter[int] = Counter()
    random = torch.Generator().manual_seed(0)
    for seeds in torch.randint(-(2**63), 2**63 - 1, (3000, 3), generator=random):
        rows = single("beta_dpo", filter_fraction=0.6).observe(policy, zero, seeds)
        counts[int(rows["keep"].argmax())] += 1
    for pair, weight in enumerate(weights):
        share = weight / sum(weights)
        assert abs(counts[pair] - 3000 * share) < 4 * sqrt(3000 * share * (1 - share))


def test_pairs_are_drawn_apart_from_the_negatives() -> None:
    """The same seeds draw negatives by other noise: a pair is not kept because of the negative it drew."""
    from pairkit.losses.adaptive import KEEP_SALT
    from pairkit.losses.sampling import uniform

    seeds = torch.arange(4000)
    kept = uniform(seeds, 1, KEEP_SALT)[:, 0]
    for salt in range(4):
        for column in range(3):
            drawn = uniform(seeds, 3, salt)[:, column]
            assert abs(torch.corrcoef(torch.stack([kept, drawn]))[0, 1].item()) < 0.07


def test_beta_does_not_fall_below_a_thousandth() -> None:
    loss = single("beta_dpo", a=5.0, filter_fraction=0.0)
    loss(POLICY, REFERENCE)
    loss(with_sum(POLICY, POLICY.sum - torch.tensor([[50.0, 0.0]])), REFERENCE)
    assert float(loss.state["beta"]) == 1e-3


def test_evaluation_filters_nothing_and_has_the_last_beta() -> None:
    policy, reference = random_logps(10, seed=2)
    loss = single("beta_dpo", filter_fraction=0.5)
    loss.eval()
    dpo = build("dpo")(policy, reference).losses
    assert torch.allclose(loss(policy, reference).losses, dpo)  # before training: the beta that was given
    loss.train()
    loss.observe(policy, reference, torch.arange(10))
    beta = float(loss.state["beta"])
    assert beta != pytest.approx(0.1, rel=1e-3)
    evaluated = loss.eval()(policy, reference)
    assert torch.allclose(evaluated.losses, build("dpo", beta=beta)(policy, reference).losses)
    assert evaluated.terms[0].weights.tolist() == [1.0] * 10


def test_beta_dpo_of_one_pair_is_dpo() -> None:
    first = torch.tensor([0])
    loss = build("beta_dpo")(POLICY.rows(first), REFERENCE.rows(first)).losses
    assert loss.item() == pytest.approx(softplus(-0.3))


def test_beta_dpo_does_not_count_rounding() -> None:
    """As at the first step: b is beta, the averages have seen nothing, all pairs weigh alike in the draw."""
    policy, reference = random_logps(10, seed=2)
    loss, seeds = single("beta_dpo", filter_fraction=0.3), torch.arange(10)
    same = loss.observe(with_sum(policy, policy.sum * (1 + 1e-6 * reference.sum / 100)), policy, seeds)
    assert loss.state_dict() == single("beta_dpo").state_dict()
    assert torch.equal(
        same["keep"], single("beta_dpo", filter_fraction=0.3).observe(policy, policy, seeds)["keep"]
    )


def test_an_empty_batch_is_no_error() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    for name in ("alpha_dpo", "beta_dpo", "amapo", "aot", "aot_unpaired"):
        rows = single(name).observe(POLICY.rows(none), REFERENCE.rows(none), none)
        assert all(len(row) == 0 for row in rows.values())


# --- amapo


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


def test_amapos_exponent_is_held() -> None:
    """Differences 400 (three times) and -400 nats a token: mean 200, exponent 1.5 x 200 = 300."""
    policy = Logps(
        torch.tensor([[-1.0, -401.0]] * 3 + [[-401.0, -1.0]]),
        torch.ones(4, 2, dtype=torch.int64),
        torch.ones(4, 2, dtype=torch.bool),
    )
    losses, gradient = value_and_gradient(single("amapo"), policy, None)
    assert losses[3].item() == pytest.approx(2.5 * exp(80), rel=1e-5)
    assert torch.isfinite(losses).all()
    assert gradient[3].tolist() == [-2.5, 2.5]


# --- all of them


@pytest.mark.parametrize("name", ["alpha_dpo", "beta_dpo"])
def test_statistics_survive_a_checkpoint_and_are_frozen_in_evaluation(name: str) -> None:
    loss = single(name)
    for seed in range(3):
        loss(*random_logps(8, seed=seed))
    saved = json.loads(json.dumps({key: float(value) for key, value in loss.state_dict().items()}))
    restored = single(name)
    restored.load_state_dict(saved)
    policy, reference = random_logps(8, seed=9)
    expected = loss.eval()(policy, reference).losses
    assert torch.equal(restored.eval()(policy, reference).losses, expected)
    assert restored.state_dict() == loss.state_dict() == saved
    fresh = build(name).eval()(policy, reference).losses
    assert not torch.allclose(fresh, expected)
    restored.train()(policy, reference)
    assert float(restored.state["steps"]) == 4


def test_batches_without_memory_are_observed_in_evaluation_too() -> None:
    policy, _ = random_logps(6)
    assert torch.equal(build("amapo").eval()(policy, None).losses, build("amapo")(policy, None).losses)


@pytest.mark.parametrize("name", ["alpha_dpo", "beta_dpo", "amapo"])
@pytest.mark.parametrize("keywords", [{}, {"momentum": 0.0}, {"stop_gradient": False, "alpha": 0.2}])
def test_a_batch_in_parts_has_the_same_objective_and_gradient(name: str, keywords: dict[str, Any]) -> None:
    keywords = {key: value for key, value in keywords.items() if key in build(name).parameters}
    policy, reference = random_logps(9, seed=7)
    parts, parted, seeds = single(name, **keywords), single(name, **keywords), torch.arange(9)
    for loss in (parts, parted):  # a past, so that the batch is not all that the averages know
        loss.observe(*random_logps(9, seed=8), seeds)
    objective, gradient = in_parts(parted, policy, reference, seeds)
    rows = parts.observe(policy, reference, seeds)
    losses, whole = value_and_gradient(parts, policy, reference, statistics=rows)
    assert objective.item() == pytest.approx(losses.mean().item(), rel=1e-12)
    assert torch.allclose(gradient, whole / 9, atol=1e-14, rtol=1e-12)
    assert parts.state_dict() == parted.state_dict()


@pytest.mark.parametrize("name", ["alpha_dpo", "amapo"])
def test_a_bare_call_observes_its_batch_first(name: str) -> None:
    policy, reference = random_logps(9, seed=7)
    objective, gradient = in_parts(single(name), policy, reference, torch.arange(9))
    losses, whole = value_and_gradient(single(name), policy, reference)
    assert objective.item() == pytest.approx(losses.mean().item(), rel=1e-12)
    assert torch.allclose(gradient, whole / 9, atol=1e-14, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "keywords", "message"),
    [
        ("alpha_dpo", {"beta": 0.0}, "alpha_dpo.beta must be in (0, inf)"),
        ("alpha_dpo", {"alpha": -0.1}, "alpha_dpo.alpha must be in [0, inf)"),
        ("alpha_dpo", {"momentum": 1.0}, "alpha_dpo.momentum must be in [0, 1)"),
        ("alpha_dpo", {"implicit_reference": "policy_only"}, "value of alpha_dpo.implicit_reference"),
        ("alpha_dpo", {"margin": "kl"}, "value of alpha_dpo.margin"),
        ("alpha_dpo", {"stats": "exact"}, "value of alpha_dpo.stats"),
        ("alpha_dpo", {"normalize": 1}, "alpha_dpo.normalize must be true or false"),
        ("beta_dpo", {"filter_fraction": 1.0}, "beta_dpo.filter_fraction must be in [0, 1)"),
        ("beta_dpo", {"a": -0.5}, "beta_dpo.a must be in [0, inf)"),
        ("amapo", {"beta": -2.5}, "amapo.beta must be in (0, inf)"),
    ],
)
def test_bad_hyperparameters(name: str, keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as error:
        build(name, **keywords)
    assert message in str(error.value)
