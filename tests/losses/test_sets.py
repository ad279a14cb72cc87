"""Sets and their completions: masks, orders, and the direction in which a loss pushes."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.loss_cases import SET_LOSSES, Case, case, in_case, takes
from support.loss_gradients import finite, gradient, gradients_agree
from torch import Tensor

from pairkit.losses import LOSSES, Extras, Logps, build


def with_garbage(one: Case, column: int, total: float = 1e4) -> Case:
    """Mask this column and fill it with garbage; `total` is the policy's sum there."""
    mask = one.policy.mask.clone()
    mask[:, column] = False

    def spoil(value: Tensor | None, garbage: float) -> Tensor | None:
        return None if value is None else torch.where(mask, value, torch.full_like(value, garbage))

    def masked(logps: Logps | None, total: float) -> Logps | None:
        garbage = {"sum": total, "length": 9, "token_kl": 1e4, "alignment": 1e4, "head_sum": 1e4}
        fields = {} if logps is None else {key: v for key, v in logps.tensors().items() if key in garbage}
        spoiled = {key: spoil(value, garbage[key]) for key, value in fields.items()}
        return logps and replace(logps, mask=mask, **spoiled)

    policy = masked(one.policy, total)
    assert policy
    return replace(
        one,
        policy=policy,
        reference=masked(one.reference, -total),
        scores=spoil(one.scores, float("nan")),
        extras=replace(one.extras, ranks=spoil(one.extras.ranks, 1)),
    )


@pytest.mark.parametrize("name", SET_LOSSES)
def test_masked_columns_contribute_nothing(name: str) -> None:
    for column, total in product((1, 2, 3), (1e4, math.nan)):
        with in_case(name, {"column": column, "total": total}):
            masked_columns_contribute_nothing(name, column, total)


def masked_columns_contribute_nothing(name: str, column: int, total: float) -> None:
    left = [i for i in range(4) if i != column]
    full = case(name)
    masked, without = with_garbage(full, column, total), full.columns(left)
    assert masked().losses.tolist() == pytest.approx(without().losses.tolist(), rel=1e-12)
    assert masked().losses.tolist() != pytest.approx(full().losses.tolist(), rel=1e-3)
    assert gradient(masked)[:, column].tolist() == [0.0] * 4
    assert gradient(masked)[:, left].flatten().tolist() == pytest.approx(gradient(without).flatten().tolist())


def test_a_set_with_nothing_below_the_preferred_completion_is_finite() -> None:
    for name in SET_LOSSES:
        one = case(name, completions=2, dtype=torch.float32)
        assert finite(with_garbage(one, 1)), name
        assert gradient(with_garbage(one, 1))[:, 1].tolist() == [0.0] * 4, name


def test_a_labeled_completion_may_have_a_masked_neighbor() -> None:
    """The loss is that of the completion alone, and the mean is over completions: a pair counts twice."""
    for label in (True, False):
        labels = torch.tensor([label] * 4)
        alone = case("kto", completions=1, seed=2)
        padded = case("kto", completions=1, seed=2).columns([0, 0])
        alone, padded = (replace(one, extras=Extras(labels=labels)) for one in (alone, padded))
        assert with_garbage(padded, 1)().losses.tolist() == alone().losses.tolist()
        assert with_garbage(padded, 1)().terms[0].weights.tolist() == [1.0] * 4
        assert gradient(with_garbage(padded, 1))[:, 1].tolist() == [0.0] * 4
        assert gradients_agree(alone, hold=False)


def test_masked_columns_without_scores() -> None:
    """Ordered by ranks or by column; a set with one missing score counts as a set without scores."""
    names = [
        name for name in SET_LOSSES if takes(build(name), "scores") and "scores" not in build(name).needs
    ]
    assert len(names) == 4
    for name in names:
        with in_case(name):
            full = replace(case(name), scores=None)
            masked, without = with_garbage(full, 2), full.columns([0, 1, 3])
            assert masked().losses.tolist() == pytest.approx(without().losses.tolist(), rel=1e-12)
            scores = torch.tensor([[1.0, float("nan"), 0.0, 0.5]] * 4, dtype=torch.float64)
            assert replace(full, scores=scores)().losses.tolist() == full().losses.tolist()
            assert gradients_agree(full, hold=False)


@settings(max_examples=6)
@given(order=st.permutations([1, 2, 3]), seed=st.integers(0, 2**31))
def test_the_order_of_the_negatives_does_not_matter(order: list[int], seed: int) -> None:
    columns = [0, *order]
    for name in SET_LOSSES:
        with in_case(name):
            one = case(name, seed=seed)
            other = one.columns(columns)
            assert other().losses.tolist() == pytest.approx(one().losses.tolist(), rel=1e-10)
            permuted = gradient(one)[:, columns]
            torch.testing.assert_close(gradient(other), permuted, rtol=1e-8, atol=1e-12)


# Losses that do not always decrease as the chosen completion gains and the rejected one loses likelihood.
NOT_MONOTONE = {
    "ipo": "the squared distance from a finite margin",
    "exo": "the divergence from a finite margin",
    "exo_rw": "the divergence from finite log-ratios",
    "sppo": "squared distances from finite log-ratios",
    "nca": "constrains the likelihood of both",
    "apo_down": "pushes the chosen completion down too",
    "spo": "its minimum lies at finite log-ratios",
    "stapo": "its minimum lies between the margins",
    "reward_mse": "the squared distance from the scores",
    "discopop": "has a bump on either side of 0",
}


def slopes(name: str, chosen: Tensor, rejected: Tensor) -> Tensor:
    """Compute the gradient at these log-ratios (without a reference: log-probs differing as much), [B, 2]."""
    one = case(name, completions=2, sets=len(chosen))
    base = one.reference.sum if one.reference else one.policy.sum.clamp(max=-60)
    return gradient(one.of({"sum": base + torch.stack([chosen, rejected], dim=1)}).observed())


@settings(max_examples=8)
@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50)), min_size=8, max_size=8))
def test_pulls_the_chosen_up_and_pushes_the_rejected_down(ratios: list[tuple[float, float]]) -> None:
    chosen, rejected = torch.tensor(ratios, dtype=torch.float64).unbind(1)
    for name in LOSSES.keys() - NOT_MONOTONE.keys():
        slope = slopes(name, chosen, rejected)
        assert (slope[:, 0] <= 1e-12).all(), name
        assert (slope[:, 1] >= -1e-12).all(), name


def test_the_gradient_of_the_others_changes_sign() -> None:
    points = torch.linspace(-600, 600, 61, dtype=torch.float64)
    fine = torch.linspace(-3, 3, 61, dtype=torch.float64)
    for name in LOSSES.keys() & NOT_MONOTONE.keys():
        slope = torch.cat([slopes(name, p, torch.zeros_like(p)) for p in (points, fine)])
        assert (slope[:, 0] > 0).any(), name
        assert (slope[:, 0] < 0).any(), name
