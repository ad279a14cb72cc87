"""What a loss compares of a pair: the formulas of its docstring, written out again in Python's floats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, log, log1p
from typing import Any

import pytest
import torch

from pairkit.losses import LOSSES, Logps, build
from pairkit.losses.types import Extras, LossOutput

SUMS, REFERENCE = (-12.0, -9.0), (-13.5, -11.0)
LENGTHS, TOKEN_KL = (6, 4), (0.7, 1.9)
HEADS, REFERENCE_HEADS = (-8.0, -9.0), (-8.5, -11.0)  # of the first four tokens


@dataclass(frozen=True)
class Pair:
    """Log-ratios a and b, mean log-probs m and n of chosen and rejected, nats."""

    a: float = SUMS[0] - REFERENCE[0]
    b: float = SUMS[1] - REFERENCE[1]
    m: float = SUMS[0] / LENGTHS[0]
    n: float = SUMS[1] / LENGTHS[1]


def odds(mean: float) -> float:
    return mean - log1p(-exp(mean))


Formula = Callable[[Pair], float]
OWN: dict[str, tuple[dict[str, Any], Formula]] = {
    "ipo": ({}, lambda p: p.a / LENGTHS[0] - p.b / LENGTHS[1]),
    "dpop": ({"penalty_weight": 3.0}, lambda p: p.a - p.b - 3.0 * max(0.0, -p.a)),
    "minor_dpo": ({}, lambda p: p.a - max(0.0, p.b)),
    "f_dpo": ({"divergence": "js"}, lambda p: -log1p(exp(-p.a)) + log1p(exp(-p.b))),
    "tdpo1": ({}, lambda p: p.a - p.b - (TOKEN_KL[1] - TOKEN_KL[0])),
    "tdpo2": ({"alpha": 0.3}, lambda p: p.a - p.b - 0.3 * (TOKEN_KL[1] - TOKEN_KL[0])),
    "ld_dpo": (
        {"alpha": 0.25},
        lambda p: (0.25 * p.a + 0.75 * (HEADS[0] - REFERENCE_HEADS[0])) - p.b,
    ),
    "cpo": ({}, lambda p: SUMS[0] - SUMS[1]),
    "slic_hf": ({}, lambda p: SUMS[0] - SUMS[1]),
    "orpo": ({}, lambda p: odds(p.m) - odds(p.n)),
    "simper": ({}, lambda p: exp(p.m) - exp(p.n)),
    "alphapo": ({"alpha": 0.5}, lambda p: (exp(-0.5 * p.n) - exp(-0.5 * p.m)) / 0.5),
}  # fmt: skip
# Those whose rewards are beta x what they compare.
OF_REWARDS: dict[str, tuple[dict[str, Any], Formula]] = {
    "dpo": ({"beta": 0.3}, lambda p: p.a - p.b),
    "dpo_norm": ({}, lambda p: p.a / LENGTHS[0] - p.b / LENGTHS[1]),
    "simpo": ({}, lambda p: p.m - p.n),
    "stapo": ({}, lambda p: p.m - p.n),
    "alpha_dpo": ({}, lambda p: p.m - p.n),
    "spo": ({"beta": 0.2, "alpha": 0.5}, lambda p: p.a - p.b),
    "r_dpo": ({}, lambda p: p.a - p.b),
    "rpo": ({}, lambda p: p.a - p.b),
    "mcpo": ({"beta": 0.5}, lambda p: p.a - p.b),
}


def tensor(values: tuple[float, float]) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.float64)


def output(name: str, keywords: dict[str, Any]) -> tuple[LossOutput, float]:
    """The loss of the pair, and its beta."""
    length, mask = torch.tensor([LENGTHS]), torch.ones(1, 2, dtype=torch.bool)
    policy = Logps(
        tensor(SUMS), length, mask, token_kl=tensor(TOKEN_KL), alignment=tensor((0.0, 0.0)),
        head_sum=tensor(HEADS),
    )  # fmt: skip
    reference = Logps(tensor(REFERENCE), length, mask, head_sum=tensor(REFERENCE_HEADS))
    loss = build(name, **keywords)
    return loss(policy, reference, tensor((1.0, 0.0)), extras=Extras(ranks=torch.tensor([[1, 2]]))), loss.beta


@pytest.mark.parametrize("name", OWN)
def test_a_loss_with_a_contrast_of_its_own_gives_it(name: str) -> None:
    keywords, formula = OWN[name]
    given, _ = output(name, keywords)
    assert given.contrast is not None
    assert given.contrast.tolist() == pytest.approx([formula(Pair())], rel=1e-9)
    assert not given.contrast.requires_grad


@pytest.mark.parametrize("name", OF_REWARDS)
def test_for_others_it_is_the_difference_of_the_rewards_over_beta(name: str) -> None:
    keywords, formula = OF_REWARDS[name]
    given, beta = output(name, keywords)
    assert given.contrast is None
    chosen, rejected = given.rewards[0].tolist()
    assert (chosen - rejected) / beta == pytest.approx(formula(Pair()), rel=1e-9)


def test_the_first_part_of_a_sum_gives_it() -> None:
    given, _ = output("minor_dpo:0.5+dpo", {})
    assert given.contrast is not None
    assert given.contrast.tolist() == pytest.approx([OWN["minor_dpo"][1](Pair())])


def test_the_deviation_of_alpha_dpo_is_that_of_its_statistics() -> None:
    """Of one batch, whose bias correction gives the batch's own; 0 before it."""
    ((_, loss),) = build("alpha_dpo").parts
    assert loss.figures() == {"std_M": 0.0}
    sums = torch.tensor([[-12.0, -9.0], [-7.0, -20.0], [-3.0, -16.0]], dtype=torch.float64)
    lengths, mask = torch.tensor([[6, 4], [5, 8], [2, 9]]), torch.ones(3, 2, dtype=torch.bool)
    reference = torch.tensor([[-13.5, -11.0], [-9.0, -18.0], [-4.0, -11.0]], dtype=torch.float64)
    loss.observe(Logps(sums, lengths, mask), Logps(reference, lengths, mask))
    ratios = ((sums - reference) / lengths).tolist()
    gaps = [chosen - rejected for chosen, rejected in ratios]
    mean = sum(gaps) / 3
    deviation = (sum((gap - mean) ** 2 for gap in gaps) / 2) ** 0.5
    assert loss.figures() == pytest.approx({"std_M": deviation})


def test_most_losses_have_no_figures_of_a_state() -> None:
    names = {name for name, spec in LOSSES.items() if spec.statistics and spec.statistics.figures}
    assert names == {"alpha_dpo"}
    assert build("dpo+bco").parts[1][1].figures() == {}


def test_odds_are_what_they_are() -> None:
    assert odds(log(0.25)) == pytest.approx(log(1 / 3))
