"""alpha-DPO's statements, written out in plain floats and compared with its losses."""

from __future__ import annotations

from math import exp, log, log1p
from statistics import fmean, stdev
from typing import Any

import pytest
import torch
from support.tensors import random_logps
from support.theory.alpha_bound import (
    RATIO,
    SCALE,
    adapted,
    corrected,
    epsilon,
    excess,
    explicit,
    in_space,
    largest,
    online,
    spread,
)
from support.theory.alpha_reference import (
    CLOSE,
    deviation,
    factor,
    margin,
    margins,
    sequences,
    token_kl_logits,
    uniform,
    whole_reference,
)
from support.theory.space import LENGTH, REFERENCE, TARGET, THETA, reals

from pairkit.losses import Logps, build

ALPHAS = (1e-4, 0.001, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0)
UNLIKE = {"normalize": False, "length_normalized": False}  # of alpha_dpo: equation 9 without lengths


def nls(x: float) -> float:
    """-log sigma(x)."""
    return log1p(exp(-abs(x))) + max(-x, 0.0)


def values(loss: str, policy: Logps, reference: Logps | None = None, **keywords: Any) -> list[float]:
    found: list[float] = build(loss, **keywords)(policy, reference).losses.tolist()
    return found


def row_by_row(policy: Logps, gammas: list[float], **keywords: Any) -> list[float]:
    """simpo with a gamma of each pair's own."""
    rows = [policy.rows(torch.tensor([row])) for row in range(len(gammas))]
    return [values("simpo", row, gamma=g, **keywords)[0] for row, g in zip(rows, gammas, strict=True)]


def test_theorem_3_1_a_uniform_reference_gives_a_margin_of_lengths() -> None:
    policy, _ = random_logps(8)
    reference = uniform(policy.length, (1000, 1000))
    gammas = [0.1 * log(1000) * (rejected - chosen) for chosen, rejected in policy.length.tolist()]
    assert margin(reference, 0.1).tolist() == pytest.approx(gammas, rel=1e-12)
    assert max(gammas) - min(gammas) > 10
    simpo = row_by_row(policy, gammas, beta=0.1, length_normalized=False)
    assert values("dpo", policy, reference, beta=0.1) == pytest.approx(simpo, rel=1e-12)
    llama_3 = margin(uniform(torch.tensor([[220, 200]]), (128_256, 128_256)), 2.5)
    assert llama_3.item() == pytest.approx(-2.5 * 20 * log(128_256), rel=1e-12)


def test_theorem_3_1_of_means_it_gives_no_margin() -> None:
    policy, _ = random_logps(8)
    of_means = values("dpo_norm", policy, uniform(policy.length, (1000, 1000)), beta=2.0)
    assert of_means == pytest.approx(values("simpo", policy, beta=2.0, gamma=0.0), rel=1e-12)


def test_theorem_3_1_distinct_subsets_give_a_constant_for_means_only() -> None:
    """Chosen texts are uniform over 300 tokens, rejected ones over 700."""
    policy, _ = random_logps(8)
    reference = uniform(policy.length, (300, 700))
    of_means = values("dpo_norm", policy, reference, beta=2.0)
    constant = 2.0 * log(700 / 300)
    assert of_means == pytest.approx(values("simpo", policy, beta=2.0, gamma=constant), rel=1e-12)
    gammas = margin(reference, 2.0)
    assert float(gammas.max() - gammas.min()) > 100
    simpo = row_by_row(policy, gammas.tolist(), beta=2.0, length_normalized=False)
    assert values("dpo", policy, reference, beta=2.0) == pytest.approx(simpo, rel=1e-12)


@pytest.mark.parametrize("name", ["dpo", "dpo_norm"])
def test_theorem_3_1_margins_of_ranked_completions_add_up(name: str) -> None:
    """gamma is beta (difference of scores) less the logit, read off the loss."""
    policy, reference = random_logps(6, 3)
    scores = policy.mean if name == "dpo_norm" else policy.sum

    def gammas(first: int, second: int) -> torch.Tensor:
        pair = torch.tensor([[first, second]]).repeat(6, 1)
        losses = build(name, beta=0.5)(policy.columns(pair), reference.columns(pair)).losses
        return 0.5 * (scores[:, first] - scores[:, second]) + torch.log(torch.expm1(losses))

    assert torch.allclose(gammas(0, 1) + gammas(1, 2), gammas(0, 2), rtol=0, atol=1e-9)
    assert (gammas(0, 1) - gammas(0, 2)).abs().min() > 1e-3


def test_equation_8_at_alpha_0_is_simpo() -> None:
    policy, reference = random_logps(8)
    for keywords in ({}, UNLIKE):
        own = {key: value for key, value in keywords.items() if key == "length_normalized"}
        alpha = values("alpha_dpo", policy, reference, beta=2.0, gamma_beta_ratio=0.3, alpha=0.0, **keywords)
        assert alpha == pytest.approx(values("simpo", policy, beta=2.0, gamma=0.6, **own), rel=1e-12)


def test_equation_8_at_alpha_1_loses_the_policy() -> None:
    loss, slope = whole_reference(stop_gradient=False)
    assert (loss, slope) == pytest.approx((nls(0.1 * (-42 + 44)), 0.0), abs=1e-15)
    policy, reference = random_logps(8)
    gaps = (reference.sum[:, 0] - reference.sum[:, 1]).tolist()
    keywords = {"beta": 0.1, "gamma_beta_ratio": 0.5, "alpha": 1.0, **UNLIKE}
    found = values("alpha_dpo", policy, reference, **keywords)
    assert found == pytest.approx([nls(0.1 * gap - 0.05) for gap in gaps], rel=1e-10)
    held, pushed = whole_reference(stop_gradient=True)
    assert held == pytest.approx(loss, rel=1e-12)
    assert pushed == pytest.approx(-0.1 / (1 + exp(0.2)), rel=1e-12)
    assert abs(values("dpo", policy, reference, beta=0.1)[0] - found[0]) > 0.01


def test_equation_8_with_the_reference_alone_is_dpo_at_alpha_1() -> None:
    policy, reference = random_logps(8)
    keywords = {
        "beta": 0.1,
        "gamma_beta_ratio": 0.0,
        "alpha": 1.0,
        "implicit_reference": "reference",
        **UNLIKE,
    }
    found = values("alpha_dpo", policy, reference, **keywords)
    assert found == pytest.approx(values("dpo", policy, reference, beta=0.1), rel=1e-10)


def test_equation_9_has_the_same_scale_in_paper_and_code() -> None:
    policy, reference = random_logps(8)
    sums = zip(policy.sum.tolist(), reference.sum.tolist(), strict=True)
    expected = [nls(2 * (w - v) - (0.6 + 0.05 * 2 * ((w - a) - (v - b)))) for (w, v), (a, b) in sums]
    for scale in ("paper", "code"):
        keywords = {"beta": 2.0, "gamma_beta_ratio": 0.3, "alpha": 0.05, "alpha_scale": scale, **UNLIKE}
        assert values("alpha_dpo", policy, reference, **keywords) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_equation_12_is_the_scale_of_the_paper(reduction: str) -> None:
    """M of means as in the code, or of sums as in equation 10."""
    policy, reference = random_logps(8)
    size = torch.ones_like(policy.length) if reduction == "sum" else policy.length
    raw = [w - v for w, v in ((policy.sum - reference.sum) / size).tolist()]
    standard = [(m - fmean(raw)) / stdev(raw) for m in raw]
    pairs = list(zip(policy.mean.tolist(), standard, strict=True))
    for scale, times in (("paper", 1.0), ("code", 2.0)):
        expected = [nls(2 * (w - v) - (0.6 + times * 0.2 * m)) for (w, v), m in pairs]
        keywords = {"beta": 2.0, "gamma_beta_ratio": 0.3, "alpha": 0.2, "alpha_scale": scale}
        found = values("alpha_dpo", policy, reference, margin_reduction=reduction, **keywords)
        assert found == pytest.approx(expected, rel=1e-10)


def test_equation_12_rewards_are_u() -> None:
    policy, reference = random_logps(8)
    for name in ("alpha_dpo", "simpo"):
        rewards = build(name, beta=2.0)(policy, reference).rewards
        assert torch.allclose(rewards, 2 * policy.sum / policy.length, rtol=1e-12, atol=0)


def test_stop_gradient_the_factor_without_it() -> None:
    assert deviation() == pytest.approx(stdev([0.05, -0.05]), rel=1e-12)
    for alpha in (0.01, 0.05, 0.0707, 0.2):
        assert factor(alpha) == pytest.approx(1 - alpha / stdev([0.05, -0.05]), rel=1e-9, abs=1e-9)
    assert factor(0.05) > 0 > factor(0.2)
    policy, reference = CLOSE
    held = values("alpha_dpo", policy, reference)
    assert values("alpha_dpo", policy, reference, stop_gradient=False) == held


def lemma(a: list[float], b: list[float], alpha: float) -> tuple[float, float]:
    """|L1 - L2| and epsilon, each pair as the appendix has it, before its expansion."""
    pairs = list(zip(a, b, strict=True))
    first = fmean(nls(x) * exp(alpha * y) for x, y in pairs)
    second = fmean(nls(x - alpha * y) for x, y in pairs)
    bound = fmean(alpha * abs(y) * abs(-nls(x) - 1 / (1 + exp(-x)) + 1) for x, y in pairs)
    return abs(first - second), bound


A, B = [1.2, -0.8, 0.3, 2.0], [12.0, -6.0, 8.0, -3.0]


def test_lemma_4_2_holds_up_to_some_alpha_where_b_has_both_signs() -> None:
    pairs = explicit(reals(*A), reals(*B))
    for alpha in ALPHAS:
        difference, bound = lemma(A, B, alpha)
        found = abs(corrected(pairs, alpha) - adapted(pairs, alpha)), epsilon(pairs, alpha)
        assert found == pytest.approx((difference, bound), rel=1e-9, abs=1e-13)
        assert (difference <= bound) == (alpha < 0.12)
    assert largest(pairs) == pytest.approx(0.12258, abs=1e-5)
    limits = [largest(spread(a, 16.0)) for a in (0, -2, -4)]
    assert limits == pytest.approx([0.03807, 0.05273, 0.06151], abs=1e-5)
    assert max(limits) < 0.1  # of the alphas that the paper tries, 0.1 and 0.2 are beyond


def test_lemma_4_2_fails_for_every_alpha_where_all_pairs_are_separated() -> None:
    """And not because of rounding: at alpha 1e-4 the excess is 2e-4 of the bound or more."""
    for pairs in (explicit(reals(*A), reals(*B).abs()), in_space()):
        for alpha in ALPHAS:
            assert excess(pairs, alpha) > 1e-4 * epsilon(pairs, alpha)
    opposite = explicit(reals(*A), -reals(*B).abs())
    assert all(excess(opposite, alpha) < 0 for alpha in ALPHAS)


def test_lemma_4_2_scales_with_the_unit_of_b() -> None:
    """alpha and B come as a product only: of means over 100 tokens the limit is 100 times as large."""
    assert largest(spread(0, 0.16)) == pytest.approx(100 * largest(spread(0, 16.0)), rel=1e-6)


def test_lemma_4_2_is_not_about_the_online_loss() -> None:
    """Every pair of two samples, by a double loop over the five completions."""
    pi, ref = THETA.softmax(0).tolist(), REFERENCE.softmax(0).tolist()
    for alpha in (0.05, 0.1, 0.5):
        raw = [r * (p / r) ** alpha for p, r in zip(pi, ref, strict=True)]
        old = [one / sum(raw) for one in raw]
        sampled = inverted = 0.0
        for w in range(5):
            for v in range(5):
                if TARGET[w] > TARGET[v]:  # y_w is the better of the two
                    m = log(pi[w]) / LENGTH[w].item() - log(pi[v]) / LENGTH[v].item()
                    loss = nls(SCALE * (m - RATIO))
                    sampled += 2 * old[w] * old[v] * loss
                    inverted += 2 * ref[w] * ref[v] * loss * (old[w] / ref[w]) * (ref[v] / old[v])
        assert online(alpha) == pytest.approx((sampled, sampled, inverted), rel=1e-12)
        # C is the same for every completion: exp(alpha B) is the weight itself.
        assert corrected(in_space(), alpha) == pytest.approx(inverted, rel=1e-12)
        assert abs(sampled - adapted(in_space(), alpha)) > epsilon(in_space(), alpha)
        assert sampled < adapted(in_space(), alpha) < inverted


def test_lemma_4_2_lacks_the_beta_of_equation_9() -> None:
    """The loss itself, beta B in its margin, is off by more than the bound already in its slope."""
    pairs = in_space()
    for alpha in (1e-3, 0.01, 0.05):
        loss = build(
            "alpha_dpo",
            beta=SCALE,
            gamma_beta_ratio=RATIO,
            alpha=alpha,
            normalize=False,
            margin_reduction="sum",
        )
        own = float(pairs[2] @ loss(pairs[0], pairs[1]).losses)
        assert own == pytest.approx(adapted(pairs, SCALE * alpha), rel=1e-12)
        assert abs(corrected(pairs, alpha) - own) > 1.5 * epsilon(pairs, alpha)


def test_lemma_4_3_holds_on_average_over_the_reference() -> None:
    ratios, divergences, chances = sequences()
    assert chances.sum().item() == pytest.approx(1.0, rel=1e-12)
    assert (chances @ divergences).item() == pytest.approx((chances @ -ratios).item(), rel=1e-12)


def test_lemma_4_3_fails_on_pairs() -> None:
    """The figures are of another implementation, a loop in numpy."""
    delta, m = margins()
    clear = delta.abs() > 1e-12
    assert (len(delta), int(clear.sum()), int((delta * m < 0)[clear].sum())) == (72, 54, 32)
    assert (delta - m).abs().max().item() == pytest.approx(3.12121, abs=1e-5)
    assert sequences()[1].min() > 0  # a divergence, where log-ratios have both signs


def test_lemma_4_3_delta_is_the_margin_of_tdpo() -> None:
    delta, m = margins()
    assert torch.allclose(token_kl_logits(), m - delta, rtol=0, atol=1e-10)
