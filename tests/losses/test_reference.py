"""Values, identities and gradients of the pairwise losses that take a reference; A and B are of `pairs`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from math import exp, log
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.pairs import AB, A, B, gradient, logps, nls, random_pairs, ratios

from pairkit.errors import InputError
from pairkit.losses import Extras, Loss, LossOutput, WeightedSum, build
from pairkit.losses.tokenwise import tdpo1

# Worked here from the numbers of `pairs`.
WORKED: list[tuple[str, dict[str, Any], float, float]] = [
    ("hinge", {}, 1 - 0.05 * 3, 1 + 0.05 * 5),
    ("discopop", {}, *(
        (1 - k) * nls(r) + k * exp(-r) for r, k in [(0.15, 1 / (1 + exp(-3))), (-0.25, 1 / (1 + exp(5)))]
    )),
    # 5 tokens fewer on the chosen side: 0.2 x -5 = -1
    ("r_dpo", {"length_weight": 0.2}, nls(0.3 - 1), nls(-0.5 - 1)),
    # the penalty is max(0, -a) = 0 and 2: B's margin is -5 - 3 x 2
    ("dpop", {"penalty_weight": 3}, nls(0.3), nls(-1.1)),
    # K_rejected - K_chosen = 1 and 3
    ("tdpo2", {"alpha": 2}, nls(0.1 * (3 - 2)), nls(0.1 * (-5 - 6))),
    # log-ratios of the heads 2, -2 and -2, 2
    ("ld_dpo", {"alpha": 0}, nls(0.1 * 4), nls(0.1 * -4)),
    ("sppo", {}, (2 - 500) ** 2 + (-1 + 500) ** 2, (-2 - 500) ** 2 + (3 + 500) ** 2),
    # z = 0.3 and 0.1; of B -0.5 and -0.3
    ("spo", {}, -0.3 * exp(-0.3) - 0.1 * exp(-0.1), 0.5 * exp(0.5) + 0.3 * exp(0.3)),
    # the tangent at -0.25 is 0.25 e^0.25 - 1.25 e^0.25 (z + 0.25): at -0.5 and -0.3, 0.5625 and 0.3125 e^0.25
    ("spo", {"z_clip": -0.25}, -0.3 * exp(-0.3) - 0.1 * exp(-0.1), 0.875 * exp(0.25)),
    ("spo", {"alpha": 0}, -0.3 * exp(-0.3), 0.5 * exp(0.5)),
    # Z = D, margins 0.6 and 0.8
    ("stapo", {"logit": "dpo", "beta": 2}, nls(2 * 2.4) + nls(2 * -2.2), nls(2 * -5.6) + nls(2 * 5.8)),
    # 2 / (1 + e^(beta a)) of a desirable completion, 0.5 / (1 + e^(-beta b)) of the other; their mean
    (
        "kto", {"desirable_weight": 2, "undesirable_weight": 0.5},
        1 / (1 + exp(0.2)) + 0.25 / (1 + exp(0.1)), 1 / (1 + exp(-0.2)) + 0.25 / (1 + exp(-0.3)),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "keywords", "first", "second"), WORKED)
def test_worked_values(name: str, keywords: dict[str, Any], first: float, second: float) -> None:
    assert build(name, **keywords)(*A).losses.tolist() == pytest.approx([first], rel=1e-12)
    assert build(name, **keywords)(*B).losses.tolist() == pytest.approx([second], rel=1e-12)


def test_the_token_mean_of_rpo_is_over_the_batch() -> None:
    """Chosen completions of 4 and 1 tokens, NLL 6 and 2: 8 / 5 nats per token, not the mean of 1.5 and 2."""
    policy = logps([[-6.0, -3.0], [-2.0, -3.0]], [[4, 3], [1, 3]])
    result = build("rpo", nll_weight=0.5)(policy, policy)
    assert result.losses.mean().item() == pytest.approx(log(2) + 0.5 * 8 / 5)
    assert [term.weights.tolist() for term in result.terms] == [[1.0, 1.0], [4.0, 1.0]]
    by_sum = build("rpo", nll_weight=0.5, nll_reduction="sum")(policy, policy)
    assert by_sum.losses.tolist() == pytest.approx([log(2) + 3, log(2) + 1])


def test_bco_with_the_shift_fixed_at_zero() -> None:
    """The form of TRL since 0.29, and biasedNCA: -log sigmoid(beta a) - log sigmoid(-beta b)."""
    loss = build("bco").eval()
    assert loss(*AB).losses.tolist() == pytest.approx([1.24253553, 1.65249411], abs=1e-8)
    assert loss(*A).losses.item() == pytest.approx(nls(0.2) + nls(0.1))


def test_discopop_is_not_monotone() -> None:
    """Its published local minimum and maximum, in r = beta D."""
    loss = build("discopop", beta=1.0)

    def at(r: float) -> float:
        return loss(*ratios(r, 0.0)).losses.item()

    assert at(-0.119) == pytest.approx(0.786, abs=5e-4)
    assert at(0.072) == pytest.approx(0.878, abs=5e-4)
    assert at(-0.119) < min(at(-0.15), at(-0.09))
    assert at(0.072) > max(at(0.05), at(0.1))
    for r in (-0.119, 0.072, 0.3):  # the share of the two losses carries gradient
        slope = (at(r + 1e-5) - at(r - 1e-5)) / 2e-5
        assert gradient(loss, ratios(r, 0.0))[0, 0].item() == pytest.approx(slope, abs=1e-6)


def test_rewards_are_beta_times_the_summed_log_ratio() -> None:
    """Also where the loss divides by lengths or counts some tokens less."""
    for name in ["dpo", "ipo", "ld_dpo", "kto", "sppo"]:
        assert build(name, beta=0.5)(*AB).rewards.tolist() == [[1.0, -0.5], [-1.0, 1.5]]
    assert build("stapo", logit="dpo")(*AB).rewards.tolist() == [[4.0, -2.0], [-4.0, 6.0]]
    assert build("stapo")(AB[0]).rewards.flatten().tolist() == pytest.approx([-4.0, -3.6, -5.0, -3.2])


IDENTITIES: list[tuple[str, dict[str, Any], str, dict[str, Any]]] = [
    ("robust_dpo", {"label_smoothing": 0}, "dpo", {}),
    ("r_dpo", {"length_weight": 0}, "dpo", {}),
    ("dpop", {"penalty_weight": 0}, "dpo", {}),
    ("tdpo2", {"alpha": 0}, "dpo", {}),
    ("ld_dpo", {"alpha": 1}, "dpo", {}),
    ("f_dpo", {"divergence": "reverse_kl"}, "dpo", {}),
    ("f_dpo", {"divergence": "alpha", "alpha": 0}, "f_dpo", {"divergence": "forward_kl"}),
    ("rpo", {"nll_weight": 0}, "dpo", {}),
    ("rpo", {"nll_weight": 0.3}, "dpo:1+sft:0.3", {}),
    ("mpo", {}, "dpo:0.8+bco:0.2+sft:1.0", {}),
    ("mpo", {"dpo_weight": 0, "bco_weight": 1, "sft_weight": 0}, "bco", {}),
    ("stapo", {"right_margin": 1e6}, "simpo", {"gamma_beta_ratio": 0.6}),
    ("kto", {"desirable_weight": 2, "undesirable_weight": 2}, "apo_zero", {}),  # z0 = 0, and a mean of two
    ("r_dpo", {"length_weight": 0.3, "length_inside_beta": True}, "r_dpo", {"length_weight": 0.03}),
]


@pytest.mark.parametrize(("name", "keywords", "other", "others"), IDENTITIES)
def test_identities(name: str, keywords: dict[str, Any], other: str, others: dict[str, Any]) -> None:
    given = random_pairs()
    first, second = build(name, **keywords), build(other, **others)
    torch.testing.assert_close(first(*given).losses, second(*given).losses, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient(first, given), gradient(second, given), rtol=1e-12, atol=1e-12)
    assert torch.equal(first(*given).rewards, second(*given).rewards)


def test_identities_that_hold_for_some_pairs_only() -> None:
    policy, reference = random_pairs()
    dpo = build("dpo")
    risen = (policy.sum - reference.sum)[:, 1] >= 0
    assert 0 < risen.sum() < len(risen)
    same = torch.isclose(build("minor_dpo")(policy, reference).losses, dpo(policy, reference).losses)
    assert torch.equal(same, risen)

    held = (policy.sum - reference.sum)[:, 0] >= 0
    assert 0 < held.sum() < len(held)
    same = torch.isclose(build("dpop")(policy, reference).losses, dpo(policy, reference).losses)
    assert torch.equal(same, held)

    assert policy.alignment is not None
    likely = policy.alignment.sum(dim=1) >= 0
    assert 0 < likely.sum() < len(likely)
    same = torch.isclose(build("wpo", beta=0.1)(policy, reference).losses, dpo(policy, reference).losses)
    assert torch.equal(same, likely)

    one = replace(policy, length=torch.ones_like(policy.length))
    normalized = build("dpo_norm", beta=0.1)(one, reference).losses
    torch.testing.assert_close(normalized, dpo(one, reference).losses)
    by_mean, by_sum = build("ipo")(one, reference), build("ipo", reduction="sum")(one, reference)
    torch.testing.assert_close(by_mean.losses, by_sum.losses)


def test_stapo_with_equal_margins_is_twice_a_logistic_loss_with_labels_of_one_half() -> None:
    policy, reference = random_pairs()
    soft = build("simpo", gamma_beta_ratio=0.7, label_smoothing=0.5 - 1e-12)(policy)
    equal = build("stapo", left_margin=0.7, right_margin=0.7)(policy, reference)
    torch.testing.assert_close(equal.losses, 2 * soft.losses)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_alpha_divergence_tends_to_the_reverse_kl(dtype: torch.dtype) -> None:
    """In float32 too, where beta exp(px) / p at p = -1e-6 is right to 0.006 only."""
    policy, reference = (replace(one, sum=one.sum.to(dtype)) for one in random_pairs())
    near = build("f_dpo", divergence="alpha", alpha=1 - 1e-6)(policy, reference).losses
    torch.testing.assert_close(near, build("dpo")(policy, reference).losses, rtol=0, atol=1e-4)


@given(st.floats(0.05, 0.45), st.integers(0, 2**31))
def test_robust_dpo_is_unbiased(share: float, seed: int) -> None:
    """Over labels that are swapped with this probability its mean is DPO's on the right ones."""
    policy, reference = random_pairs(seed, 4)
    swap = torch.tensor([[1, 0]] * 4)
    loss = build("robust_dpo", label_smoothing=share)
    right = loss(policy, reference).losses
    swapped = loss(policy.columns(swap), reference.columns(swap)).losses
    mean = (1 - share) * right + share * swapped
    torch.testing.assert_close(mean, build("dpo")(policy, reference).losses, rtol=1e-9, atol=1e-9)


def test_minor_dpo_does_not_push_a_rejected_completion_at_the_reference() -> None:
    """Section 3.4 of its paper: no gradient where pi(y_l) <= pi_ref(y_l); up to 0.0005 nats are rounding."""
    loss = build("minor_dpo")
    for b in (-1.0, -1e-9, 0.0, 1e-9, 4.9e-4):
        assert gradient(loss, ratios(0.0, b))[0].tolist() == [-0.05, 0.0]
    for b in (5.1e-4, 1.0):
        assert torch.equal(gradient(loss, ratios(0.5, b)), gradient(build("dpo"), ratios(0.5, b)))


def test_dpop_has_no_penalty_at_the_reference() -> None:
    loss = build("dpop")
    for a in (-4.9e-4, -1e-9, 0.0, 1e-9, 1.0):
        assert torch.equal(gradient(loss, ratios(a, 1.0)), gradient(build("dpo"), ratios(a, 1.0)))
    for a in (-5.1e-4, -1.0):
        logit = 0.1 * (a - 1.0 + 50 * a)
        slope = 0.1 / (1 + exp(logit))
        assert gradient(loss, ratios(a, 1.0))[0].tolist() == pytest.approx([-51 * slope, slope])


@pytest.mark.parametrize("name", ["minor_dpo", "dpop"])
def test_a_log_ratio_that_is_not_a_number_is_not_taken_for_zero(name: str) -> None:
    for a, b in ((math.nan, 1.0), (1.0, math.nan), (math.nan, math.nan)):
        assert build(name)(*ratios(a, b)).losses.isnan().all()


@pytest.mark.parametrize("name", ["minor_dpo", "dpop"])
def test_rounding_of_equal_log_probs_changes_no_gradient(name: str) -> None:
    """Sums of 500 nats in float32 are off by 3e-5, up or down."""
    noise = 3e-5 * (2 * torch.rand(64, 2, generator=torch.Generator().manual_seed(0)) - 1)
    exact = gradient(build(name), ratios(0.0, 0.0))[0]
    for a, b in noise.double().tolist():
        torch.testing.assert_close(gradient(build(name), ratios(a, b))[0], exact, rtol=1e-5, atol=0)


def test_the_gradients_of_token_kl_alignment_and_heads() -> None:
    def gradients(name: str, field: str) -> list[float] | None:
        leaves = {one: getattr(A[0], one).clone().requires_grad_() for one in ("sum", field)}
        build(name, beta=0.1)(replace(A[0], **leaves), A[1]).losses.sum().backward()
        found = leaves[field].grad
        return None if found is None else found.tolist()[0]

    # d loss / d margin = -0.1 sigmoid(-0.1 margin); the margins are 2, 2.5 and, with the heads, 3.5
    slope = 0.1 / (1 + exp(0.2))
    assert gradients("tdpo1", "token_kl") == pytest.approx([-slope, slope])
    slope = 0.1 / (1 + exp(0.25))
    assert gradients("tdpo2", "token_kl") == pytest.approx([0.0, 0.5 * slope])
    slope = 0.1 / (1 + exp(0.35))
    assert gradients("ld_dpo", "head_sum") == pytest.approx([-0.5 * slope, 0.5 * slope])
    assert gradients("ld_dpo", "sum") == pytest.approx([-0.5 * slope, 0.5 * slope])
    assert gradients("wpo", "alignment") is None


@pytest.mark.default(
    "apo_zero-keywords13", "hinge-keywords2", "dpo-keywords0", "ropo-keywords3", "bco-keywords12",
    "kto-keywords11", "f_dpo-keywords9", "minor_dpo-keywords6"
)  # fmt: skip
@pytest.mark.parametrize(
    ("name", "keywords"),
    [
        ("dpo", {}),
        ("robust_dpo", {}),
        ("hinge", {}),
        ("ropo", {}),
        ("r_dpo", {}),
        ("dpop", {}),
        ("minor_dpo", {}),
        ("dpo_norm", {}),
        ("f_dpo", {"divergence": "forward_kl"}),
        ("f_dpo", {"divergence": "js"}),
        ("f_dpo", {"divergence": "alpha"}),
        ("kto", {}),
        ("bco", {}),
        ("apo_zero", {}),
    ],
)
@settings(max_examples=30)
@given(a=st.floats(-50, 50), b=st.floats(-50, 50), beta=st.floats(0.01, 5))
def test_a_step_raises_the_chosen_and_lowers_the_rejected_completion(
    name: str, keywords: dict[str, Any], a: float, b: float, beta: float
) -> None:
    chosen, rejected = gradient(build(name, beta=beta, **keywords), ratios(a, b))[0].tolist()
    assert chosen <= 0.0 <= rejected


@given(st.floats(-20, 20), st.floats(-20, 20))
def test_apo_down_lowers_both_completions_together_and_the_rejected_one_more(a: float, b: float) -> None:
    chosen, rejected = gradient(build("apo_down"), ratios(a, b))[0].tolist()
    slope = 0.1 * exp(0.1 * a) / (1 + exp(0.1 * a)) ** 2  # of sigmoid(beta a)
    assert chosen + rejected == pytest.approx(slope)
    assert rejected > max(0.0, chosen - slope)


@pytest.mark.parametrize(
    ("name", "keywords"),
    [
        ("spo", {"beta": 2.0, "alpha": 2.0}),
        ("spo", {"z_clip": 0.0}),
        ("discopop", {"temperature": 1e-3}),
        ("discopop", {"temperature": 20.0, "beta": 1.0}),
        ("exo", {"beta": 5.0, "label_smoothing": 1e-6}),
        ("dpop", {"beta": 5.0}),
        ("sppo", {"beta": 1e-5}),
        ("robust_dpo", {"label_smoothing": 0.49}),
        *(("f_dpo", {"divergence": one, "beta": 2.0}) for one in ("reverse_kl", "forward_kl", "js", "alpha")),
        ("f_dpo", {"divergence": "alpha", "alpha": 0.999}),
    ],
)
def test_extreme_log_ratios_in_float32(name: str, keywords: dict[str, Any]) -> None:
    """With hyper-parameters far from the defaults."""
    loss = build(name, **keywords)
    for a, b in product([-1000.0, 0.0, 1000.0], repeat=2):
        policy, reference = (replace(one, sum=one.sum.float()) for one in ratios(a, b))
        assert torch.isfinite(loss(policy, reference).losses).all(), (a, b)
        assert torch.isfinite(gradient(loss, ratios(a, b), torch.float32)).all(), (a, b)


def test_metrics() -> None:
    assert build("wpo")(*AB).metrics["pair_weight"].item() == pytest.approx((exp(-0.3) + 1) / 2)
    for name in ("bco", "mpo"):
        assert build(name)(*A).metrics["reward_shift"].item() == pytest.approx(0.05)
    z0 = torch.tensor(1.5)
    assert build("kto")(*A, extras=Extras(kl_baseline=z0)).metrics["kl_baseline"].item() == 1.5


def test_stapo_needs_a_reference_only_for_the_logit_of_dpo() -> None:
    policy, reference = AB
    simpo = build("stapo")
    assert torch.equal(simpo(policy).losses, simpo(policy, reference).losses)
    with pytest.raises(InputError, match="needs reference"):
        build("stapo", logit="dpo")(policy)


@pytest.mark.parametrize(
    ("name", "call", "field"),
    [
        ("tdpo1", lambda loss: loss(*random_pairs()[::-1]), "token_kl"),
        ("tdpo2", lambda loss: loss(*random_pairs()[::-1]), "token_kl"),
        ("wpo", lambda loss: loss(*random_pairs()[::-1]), "alignment"),
        ("ld_dpo", lambda loss: loss(*ratios(1.0, 2.0)), "head_sum"),
    ],
)
def test_inputs_other_than_sums_are_required(
    name: str, call: Callable[[Loss | WeightedSum], LossOutput], field: str
) -> None:
    with pytest.raises(InputError, match=field):
        call(build(name))
    with pytest.raises(InputError, match="token_kl"):
        tdpo1(*ratios(1.0, 2.0), beta=0.1)  # the function itself
