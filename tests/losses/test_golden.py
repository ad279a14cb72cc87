"""Golden values of every row of the table, worked by hand.

The cases derive from the table, so that a new row fails until it has a golden row here.
"""

from __future__ import annotations

from math import exp, log, log1p, sqrt
from typing import Any

import pytest
from support.loss_cases import OF_THE_LOOP, SET_LOSSES, TABLE, as_ids, golden, golden_set, variants

from pairkit.losses import LOSSES
from pairkit.losses.parameters import Choice, Flag


def ls(x: float) -> float:
    """log sigmoid."""
    return -log1p(exp(-x))


def s(x: float) -> float:
    """sigmoid."""
    return 1 / (1 + exp(-x))


def reverse_kl(rewards: list[float], scores: list[float]) -> float:
    """KL(softmax(rewards) || softmax(scores))."""
    q = [exp(x) / sum(map(exp, rewards)) for x in rewards]
    t = [exp(x) / sum(map(exp, scores)) for x in scores]
    return sum(a * log(a / b) for a, b in zip(q, t, strict=True))


def pro_set(scores: list[float], means: list[float]) -> float:
    """PRO's ranking term, best first: each against all below it, at temperatures of score differences."""
    total = 0.0
    for k in range(len(scores) - 1):
        own = (scores[k] - scores[-1]) * means[k]
        below = sum(
            exp((scores[k] - score) * mean)
            for score, mean in zip(scores[k + 1 :], means[k + 1 :], strict=True)
        )
        total += log(exp(own) + below) - own
    return total


# The pairs are those of `loss_cases.golden`. Log-ratios of A are a = 2 and b = -1, of B -2 and 3, so that
# D = a - b is 3 and -5; mean log-probs are -2, -1.8 and -2.5, -1.6. Numbers are worked in float64 from the
# formulas; where a row has an expression, it is the working.
GOLDEN: list[tuple[str, dict[str, Any], float, float]] = [
    ("sft", {}, 2.0, 2.5),
    ("dpo", {"beta": 0.1}, 0.55435524, 0.97407698),
    ("dpo", {"beta": 0.1, "label_smoothing": 0.1}, 0.58435524, 0.92407698),
    ("robust_dpo", {"beta": 0.1, "label_smoothing": 0.1}, 0.51685524, 1.03657698),
    ("ipo", {"beta": 0.1, "reduction": "sum"}, 4.0, 100.0),
    ("ipo", {"beta": 0.1}, 23.6196, 27.2484),
    ("hinge", {"beta": 0.1}, 0.7, 1.5),
    ("slic_hf", {"delta": 1.0, "nll_weight": 0.1}, 4.0, 16.0),
    ("rrhf", {"nll_weight": 1.0}, 40.2, 50.9),
    ("cpo", {"beta": 0.1, "nll_weight": 1.0}, 2.47407698, 3.81326169),
    ("cpo", {"beta": 0.1, "nll_weight": 1.0, "nll_reduction": "sum"}, 40 - ls(0.5), 50 - ls(-1)),
    ("cpo_simpo", {"beta": 10, "gamma": 5.4, "nll_weight": 0.05}, 7.50061107, 14.52500056),
    ("simpo", {"beta": 2.5, "gamma_beta_ratio": 0.55}, 2.01767506, 3.65130020),
    ("simpo", {"beta": 2.5, "gamma": 1.375}, 2.01767506, 3.65130020),
    ("orpo", {"odds_weight": 0.1}, 2.08176842, 2.63425617),
    ("r_dpo", {"beta": 0.1, "length_weight": 0.05}, 0.66845965, 1.13687101),
    ("r_dpo", {"beta": 0.1, "length_weight": 0.05, "length_inside_beta": True}, -ls(0.275), -ls(-0.525)),
    ("kto", {"beta": 0.1}, 0.46259341, 0.56213826),
    ("bco", {"beta": 0.1}, 1.24191410, 1.65187884),  # the mean reward of A, of B and of both is 0.05
    ("apo_zero", {"beta": 0.1}, 0.92518682, 1.12427651),
    ("apo_down", {"beta": 0.1}, 0.97539148, 1.07262533),
    ("sppo", {"beta": 0.1}, 25.0, 113.0),
    ("nca", {"beta": 0.1}, 1.31940663, 1.52438593),
    ("exo", {"beta": 0.1, "label_smoothing": 1e-3}, 2.25819919, 3.63732714),
    ("dpop", {"beta": 0.1, "penalty_weight": 50}, 0.55435524, 10.50002754),
    ("rpo", {"beta": 0.1, "nll_weight": 0.1}, 0.75435524, 1.22407698),
    ("rpo", {"beta": 0.1, "nll_weight": 0.1, "nll_reduction": "sum"}, 4 - ls(0.3), 5 - ls(-0.5)),
    ("minor_dpo", {"beta": 0.1}, 0.59813887, 0.97407698),
    ("spo", {"beta": 0.1, "alpha": 0.2}, -0.38599162, 1.91763192),
    ("stapo", {"beta": 2.5, "left_margin": 0.6, "right_margin": 0.8}, 2.20581775, 3.78740892),
    (
        "stapo",
        {"beta": 0.5, "logit": "dpo"},
        -ls(0.5 * 2.4) - ls(0.5 * -2.2),
        -ls(0.5 * -5.6) - ls(0.5 * 5.8),
    ),
    # M = 0.14 and -0.22: standardized by their mean and unbiased deviation, +-1 / sqrt(2)
    (
        "alpha_dpo",
        {"beta": 2.0, "gamma_beta_ratio": 0.4, "alpha": 0.2},
        -ls(2 * (-0.2 - 0.4 - 0.2 * sqrt(0.5))),
        -ls(2 * (-0.9 - 0.4 + 0.2 * sqrt(0.5))),
    ),
    # at the first batch its mean is the running mean, and beta is not adapted
    ("beta_dpo", {"beta": 0.1, "filter_fraction": 0.0}, 0.55435524, 0.97407698),
    ("simper", {}, 0.02996360, 0.11981152),
    ("ropo", {"beta": 0.1, "alpha": 14}, 1.62080427, 2.41136190),
    ("discopop", {"beta": 0.1, "temperature": 0.05}, 0.74035717, 0.97410761),
    # differences of log-probs 5, -10 and 2, -5: sorted, each matches its own
    ("aot", {"beta": 0.1}, 0.55435524, 0.97407698),
    # a sorted -2, 2 against b sorted -1, 3
    ("aot_unpaired", {"beta": 0.1}, -ls(-0.1), -ls(-0.1)),
    ("dpo_norm", {"beta": 5}, 0.40318605, 1.38733533),
    # exp(-0.1 - 0.2), and exp(0.2 + 0.1) is clamped at 1
    ("wpo", {"beta": 0.1}, exp(-0.3) * -ls(0.3), -ls(-0.5)),
    # token KLs of chosen and rejected 2, 3 and 1, 4
    ("tdpo1", {"beta": 0.1}, -ls(0.1 * (3 - 1)), -ls(0.1 * (-5 - 3))),
    ("tdpo2", {"beta": 0.1, "alpha": 0.5}, -ls(0.1 * (3 - 0.5)), -ls(0.1 * (-5 - 1.5))),
    ("f_dpo", {"beta": 0.1}, 0.55435524, 0.97407698),
    ("f_dpo", {"beta": 0.1, "divergence": "js"}, 0.63558870, 0.80245390),
    ("f_dpo", {"beta": 0.1, "divergence": "forward_kl"}, 0.57231629, 1.12598270),
    ("f_dpo", {"beta": 0.1, "divergence": "alpha", "alpha": 0.5}, 0.57324345, 0.97347352),
    ("alphapo", {"alpha": 0.25, "beta": 2.5, "gamma": 0.1}, 1.24406398, 3.88497500),
    # g = -0.2, -0.9: mean -0.55, deviation 0.7 / sqrt(2); only B is below the mean
    ("amapo", {"beta": 2.5}, -ls(2.5 * -0.2), -ls(2.5 * (-0.9 - exp(0.35 / (0.7 / sqrt(2)) * -0.55)))),
    # rejected: head and half the rest, -36 - 4.5 and -33 - 3.5; its reference -34 - 5 and -35 - 4
    ("ld_dpo", {"beta": 0.1, "alpha": 0.5}, -ls(0.1 * (2 + 1.5)), -ls(0.1 * (-2 - 2.5))),
    (
        "mpo",
        {"beta": 0.1},
        0.8 * 0.55435524 + 0.2 * 1.24191410 + 2.0,
        0.8 * 0.97407698 + 0.2 * 1.65187884 + 2.5,
    ),
    ("rnce", {"beta": 0.1}, 0.55435524, 0.97407698),
    ("mcpo", {"beta": 0.1}, 0.55435524, 0.97407698),
    # s = 0.2, -0.1 and -0.2, 0.3
    ("contrastive_divergence", {"beta": 0.1}, -0.1 - 0.2, 0.3 + 0.2),
    ("infonca", {"beta": 0.1}, 0.55435524, 0.97407698),
    # scores 1, 0.2 and 0.6, 0; places 1, 2 in either order
    (
        "lipo",
        {"beta": 0.1},
        (2 - 2**0.2) * (1 / log(2) - 1 / log(3)) * -ls(0.3),
        (2**0.6 - 1) * (1 / log(2) - 1 / log(3)) * -ls(-0.5),
    ),
    (
        "pro",
        {"nll_weight": 0.05},
        pro_set([1.0, 0.2], [-2.0, -1.8]) + 0.05 * 40,
        pro_set([0.6, 0.0], [-2.5, -1.6]) + 0.05 * 50,
    ),
    ("exo_rw", {"beta": 0.1}, reverse_kl([0.2, -0.1], [1.0, 0.2]), reverse_kl([-0.2, 0.3], [0.6, 0.0])),
    # rewards are the sums: they differ by 5 and -10, scores by 0.8 and 0.6
    ("reward_bt", {}, -ls(5), -ls(-10)),
    ("reward_bt", {"margin": 2}, -ls(5 - 1.6), -ls(-10 - 1.2)),
    ("reward_bt", {"label_smoothing": 0.1}, -0.9 * ls(5) - 0.1 * ls(-5), -0.9 * ls(-10) - 0.1 * ls(10)),
    ("reward_bt", {"centering": 0.01}, -ls(5) + 0.01 * 85**2, -ls(-10) + 0.01 * 90**2),
    ("reward_pl", {}, -ls(5), -ls(-10)),
    ("reward_mse", {}, (41**2 + 45.2**2) / 2, (50.6**2 + 40**2) / 2),
    # logits -40 with the chosen one first and -45 with the rejected one first; -50 and -40
    ("pairrm", {}, -(ls(-40) + ls(45)) / 2, -(ls(-50) + ls(40)) / 2),
]

# The set is that of `loss_cases.golden_set`: s = 0.2, -0.1, 0.05, -0.3 at beta 0.1; scores 1, 0.2, 0.6, 0.
GOLDEN_SETS: list[tuple[str, dict[str, Any], float]] = [
    ("rnce", {"beta": 0.1}, 1.1656654132946564),
    ("mcpo", {"beta": 0.1}, 1.1656654132946564),
    ("contrastive_divergence", {"beta": 0.1}, (-0.1 + 0.05 - 0.3) / 3 - 0.2),
    ("infonca", {"beta": 0.1, "temperature": 1.0}, 1.3342208388629615),
    ("nca", {"beta": 0.1, "temperature": 1.0}, 1.3602366385560454),
    ("exo_rw", {"beta": 0.1, "reward_temperature": 1.0}, 0.022692693545688983),
    ("lipo", {"beta": 0.1}, 1.021342793714342),
    # mean log-probs -1.8, -2.1, -1.95, -2.3 are in the order of the scores: no hinge, 18 nats
    ("rrhf", {"nll_weight": 0.5}, 9.0),
    ("pro", {"nll_weight": 0.05}, pro_set([1, 0.6, 0.2, 0], [-1.8, -1.95, -2.1, -2.3]) + 0.05 * 9 * 18),
    # rewards -18, -19.5, -21, -23 from best to worst
    ("reward_bt", {}, -sum(map(ls, (1.5, 3, 5, 1.5, 3.5, 2))) / 6),
    ("reward_pl", {}, log(1 + exp(-1.5) + exp(-3) + exp(-5)) + log(1 + exp(-1.5) + exp(-3.5)) - ls(2)),
    ("reward_mse", {}, (19**2 + 21.2**2 + 20.1**2 + 23**2) / 4),
]


@pytest.mark.parametrize(
    ("name", "keywords", "first", "second"), GOLDEN, ids=as_ids([(row[0], row[1]) for row in GOLDEN])
)
def test_golden_pairs(name: str, keywords: dict[str, Any], first: float, second: float) -> None:
    assert golden(name, **keywords)().losses.tolist() == pytest.approx([first, second], abs=1e-8)


@pytest.mark.parametrize(("name", "keywords", "value"), GOLDEN_SETS)
def test_golden_sets(name: str, keywords: dict[str, Any], value: float) -> None:
    assert golden_set(name, **keywords)().losses.tolist() == pytest.approx([value], abs=1e-12)


def test_every_loss_has_a_golden_row() -> None:
    assert {row[0] for row in GOLDEN} == set(LOSSES)
    assert {row[0] for row in GOLDEN_SETS} == set(SET_LOSSES)


def test_every_option_has_a_golden_row_or_a_gradient_check() -> None:
    """Every option of a choice, every flag both ways, one more value of each number."""
    assert set(TABLE) == set(LOSSES)
    for name, spec in LOSSES.items():
        of_loss = variants(name)
        for key, parameter in spec.parameters.items():
            if (name, key) in OF_THE_LOOP:
                continue
            tried = {keywords.get(key, parameter.default) for keywords in of_loss}
            wanted = {Choice: len(getattr(parameter, "options", ())), Flag: 2}.get(type(parameter), 2)
            assert len(tried) == wanted, f"{name}.{key}"
