"""Numerics of every row of the table: finite at extremes, and float32 as good as float64."""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from support.loss_cases import (
    OF_THE_POLICY,
    SET_LOSSES,
    TABLE,
    WITH_STATISTICS,
    Case,
    allowed,
    case,
    in_case,
    variants,
)
from support.loss_gradients import finite

from pairkit.losses import LOSSES
from pairkit.losses.parameters import SMALLEST, Number

# Sums of policy and reference for one completion: log-ratios of -1000, 0, 1000, likely and unlikely.
SUMS = [(-2500, -1500), (-1500, -1500), (-500, -1500), (0, 0), (0, -1000), (-1000, 0)]
LENGTHS = [1, 8192]
PAIRS = list(product(product(SUMS, LENGTHS), repeat=2))
SETS = [
    tuple((sums, 8192 if i % 2 else 1) for i, sums in enumerate(row)) for row in product(SUMS[:3], repeat=4)
]
HIGHEST_SCORE = {"lipo": 100.0}  # it refuses scores whose power of two is infinite


def extreme(name: str, rows: list[Any], **keywords: Any) -> Case:
    """Build completions of ((policy, reference) sums, length), float32; scores 1000 to -1000 or equal."""
    one = case(name, completions=len(rows[0]), sets=len(rows), dtype=torch.float32, **keywords)
    policy, reference = torch.tensor([[sums for sums, _ in row] for row in rows]).float().unbind(-1)
    fields = {
        "token_kl": 1000.0 * (policy > reference).flip(0),
        "alignment": (policy - reference).flip(0) / 10,
        "head_sum": policy,
    }
    needed = {key: fields[key].float() for key in OF_THE_POLICY if getattr(one.policy, key) is not None}
    lengths = {"length": torch.tensor([[length for _, length in row] for row in rows])}
    heads = {"head_sum": reference} if one.reference and one.reference.head_sum is not None else {}
    scores = torch.linspace(HIGHEST_SCORE.get(name, 1000.0), -1000.0, policy.shape[1]).repeat(len(rows), 1)
    scores[1::3] = scores[1::3].flip(1)
    scores[2::3] = 0.0
    return replace(
        one,
        policy=replace(one.policy, sum=policy, **lengths, **needed),
        reference=one.reference and replace(one.reference, sum=reference, **lengths, **heads),
        scores=one.scores if one.scores is None else scores,
    )


def test_finite_at_extreme_log_ratios_and_lengths() -> None:
    for name in TABLE:
        for keywords in variants(name):
            assert finite(extreme(name, PAIRS, **keywords)), (name, keywords)
            if name in SET_LOSSES:
                assert finite(extreme(name, SETS, **keywords)), (name, keywords)


def test_finite_at_extremes_set_by_set() -> None:
    """The statistics of one set: no deviation, and a mean as large as the value itself."""
    for name in WITH_STATISTICS:
        for row in PAIRS[::5]:
            assert finite(extreme(name, [row])), name


def test_finite_where_policy_and_reference_are_equal() -> None:
    for name, sets in product(TABLE, (1, 3)):
        for keywords in variants(name):
            one = case(name, sets=sets, dtype=torch.float32, **keywords)
            total = one.reference.sum if one.reference else one.policy.sum
            fields = {"sum": total, "token_kl": torch.zeros_like(total)}
            if one.policy.token_kl is None:
                del fields["token_kl"]
            assert finite(one.of(fields)), (name, sets, keywords)


def test_finite_over_identical_batches() -> None:
    """Also of identical sets: a deviation of 0, in the first step and in all others."""
    for name, sets in product(WITH_STATISTICS, (1, 2, 6)):
        one = case(name, sets=1, dtype=torch.float32).rows(torch.zeros(sets, dtype=torch.long))
        assert [finite(one) for _ in range(5)] == [True] * 5, (name, sets)


@pytest.mark.full
def test_float32_agrees_with_float64() -> None:
    for name in TABLE:
        for keywords in variants(name):
            with in_case(name, keywords):
                float32_agrees_with_float64(name, keywords)


def float32_agrees_with_float64(name: str, keywords: dict[str, Any]) -> None:
    one = case(name, **keywords).to(torch.float32)  # of numbers that float32 can hold
    answers = []
    for dtype in (torch.float32, torch.float64):
        torch.manual_seed(0)
        again = replace(one.to(dtype), loss=copy.deepcopy(one.loss))
        leaves = again.leaves()
        losses = again.of(leaves)().losses
        assert losses.dtype == dtype
        losses.sum().backward()
        assert leaves["sum"].grad is not None
        answers.append((losses.double(), leaves["sum"].grad.double()))
    for coarse, fine in zip(*answers, strict=True):
        torch.testing.assert_close(coarse, fine, rtol=1e-4, atol=1e-6)


def test_finite_with_the_smallest_hyper_parameters() -> None:
    """Ordinary log-probs in float32; a smaller number than `SMALLEST` is refused."""
    tried = 0
    for name in TABLE:
        for key, parameter in LOSSES[name].parameters.items():
            for value in (SMALLEST, -SMALLEST):
                if isinstance(parameter, Number) and allowed(name, key, value):
                    assert finite(case(name, sets=3, dtype=torch.float32, **{key: value})), (name, key, value)
                    tried += 1
    assert tried > 80


def test_bfloat16_log_probs_are_refused() -> None:
    with pytest.raises(ValueError, match=r"float32 or float64, got torch\.bfloat16"):
        case("dpo").to(torch.bfloat16)
