"""The sampler: its frequencies, its masks, its seeds."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pairkit.errors import RecipeError
from pairkit.losses import Logps, sample_negatives

ROWS = 40_000


def repeated(
    sums: list[float], mask: list[bool] | None = None, rows: int = ROWS
) -> tuple[Logps, torch.Tensor]:
    total = torch.tensor([sums], dtype=torch.float64).repeat(rows, 1)
    present = torch.tensor([mask or [True] * len(sums)]).repeat(rows, 1)
    return Logps(total, torch.full_like(total, 10).long(), present), torch.arange(rows)


def chi_square(drawn: torch.Tensor, expected: torch.Tensor) -> float:
    """The statistic of the drawn columns (flattened) against probabilities `expected`."""
    count = torch.bincount(drawn.flatten(), minlength=len(expected)).double()
    used = expected > 0
    assert count[~used].sum() == 0
    wanted = expected[used] * count.sum()
    return float(((count[used] - wanted) ** 2 / wanted).sum())


# 99.9 % quantiles of chi-square with 1 to 4 degrees of freedom; the seeds are fixed, so no test is flaky.
LIMIT = {1: 10.83, 2: 13.82, 3: 16.27, 4: 18.47}
SUMS = [3.0, 1.0, 0.2, -0.5, 2.0]


def softmax(values: list[float], beta: float, without: int = 1) -> torch.Tensor:
    logits = beta * torch.tensor(values, dtype=torch.float64)
    logits[:without] = -math.inf
    return logits.softmax(0)


def test_mc_frequencies_follow_the_softmax() -> None:
    policy, seeds = repeated(SUMS)
    drawn = sample_negatives(policy, None, beta=5.0, seeds=seeds)  # mean log-prob: sums / 10
    assert chi_square(drawn, softmax(SUMS, 0.5)) < LIMIT[3]


def test_weights_are_rewards_or_log_probs() -> None:
    policy, seeds = repeated(SUMS)
    reference, _ = repeated([0.0, 2.0, 0.0, 0.0, 0.0])
    by_reward = sample_negatives(policy, reference, beta=0.7, seeds=seeds)
    assert chi_square(by_reward, softmax([3.0, -1.0, 0.2, -0.5, 2.0], 0.7)) < LIMIT[3]
    by_logprob = sample_negatives(policy, reference, beta=0.7, weights="logprob", seeds=seeds)
    assert chi_square(by_logprob, softmax(SUMS, 0.7)) < LIMIT[3]


def test_include_chosen_and_random() -> None:
    policy, seeds = repeated(SUMS)
    drawn = sample_negatives(policy, None, beta=5.0, include_chosen=True, seeds=seeds)
    assert chi_square(drawn, softmax(SUMS, 0.5, without=0)) < LIMIT[4]
    uniform = sample_negatives(policy, None, beta=5.0, sampling="random", seeds=seeds)
    assert chi_square(uniform, torch.tensor([0, 0.25, 0.25, 0.25, 0.25], dtype=torch.float64)) < LIMIT[3]


def test_second_draw_without_replacement() -> None:
    """P(second = j) = sum_i p_i p_j / (1 - p_i), worked from the softmax."""
    policy, seeds = repeated(SUMS)
    drawn = sample_negatives(policy, None, beta=5.0, negatives=2, seeds=seeds)
    assert (drawn[:, 0] != drawn[:, 1]).all()
    p = softmax(SUMS, 0.5)
    second = torch.tensor([sum(p[i] * p[j] / (1 - p[i]) for i in range(1, 5) if i != j) for j in range(5)])
    second[0] = 0
    assert chi_square(drawn[:, 1], second.double()) < LIMIT[3]
    again = sample_negatives(policy, None, beta=5.0, negatives=2, replacement=True, seeds=seeds)
    assert chi_square(again[:, 1], p) < LIMIT[3]
    assert (again[:, 0] == again[:, 1]).any()


def test_chain_reaches_its_stationary_distribution() -> None:
    policy, seeds = repeated(SUMS)
    one = sample_negatives(policy, None, beta=20.0, proposals=1, seeds=seeds)
    assert chi_square(one, torch.tensor([0, 0.25, 0.25, 0.25, 0.25], dtype=torch.float64)) < LIMIT[3]
    many = sample_negatives(policy, None, beta=20.0, proposals=1, steps=60, seeds=seeds)
    assert chi_square(many, softmax(SUMS, 2.0)) < LIMIT[3]
    two = sample_negatives(policy, None, beta=20.0, proposals=2, steps=30, include_chosen=True, seeds=seeds)
    assert chi_square(two, softmax(SUMS, 2.0, without=0)) < LIMIT[4]


def test_max_min_worst_all() -> None:
    policy, seeds = repeated(SUMS, rows=2)
    draw = lambda **how: sample_negatives(policy, None, beta=1.0, seeds=seeds, **how).tolist()[0]  # noqa: E731
    assert draw(sampling="max", negatives=2) == [4, 1]
    assert draw(sampling="min", negatives=2) == [3, 2]
    assert draw(sampling="worst", negatives=2) == [4, 3]
    assert draw(sampling="all") == [1, 2, 3, 4]


def test_fewer_candidates_than_asked_for() -> None:
    policy, seeds = repeated(SUMS, [True, False, True, False, True], rows=200)
    for sampling in ("mc", "max", "min", "random", "worst"):
        drawn = sample_negatives(policy, None, beta=1.0, negatives=3, sampling=sampling, seeds=seeds)
        assert drawn.shape == (200, 3)
        assert {tuple(sorted(row)) for row in drawn.tolist()} == {(-1, 2, 4)}
    drawn = sample_negatives(policy, None, beta=1.0, negatives=3, replacement=True, seeds=seeds)
    assert set(drawn.flatten().tolist()) == {2, 4}
    assert sample_negatives(policy, None, beta=1.0, sampling="all", seeds=seeds)[0].tolist() == [-1, 2, -1, 4]


def test_a_draw_depends_on_its_seed_and_columns_alone() -> None:
    torch.manual_seed(0)
    sums = torch.randn(50, 6, dtype=torch.float64)
    policy = Logps(sums, torch.ones(50, 6).long(), torch.ones(50, 6).bool())
    seeds = torch.randint(-(2**63), 2**63 - 1, (50,))
    every = sample_negatives(policy, None, beta=1.0, negatives=3, seeds=seeds)
    order = torch.randperm(50)
    part = Logps(sums[order], policy.length, policy.mask)
    assert torch.equal(sample_negatives(part, None, beta=1.0, negatives=3, seeds=seeds[order]), every[order])
    other = sample_negatives(policy, None, beta=1.0, negatives=3, seeds=seeds + 1)
    assert not torch.equal(other, every)


def test_generator_and_no_gradient() -> None:
    policy, _ = repeated(SUMS, rows=30)
    policy = Logps(policy.sum.clone().requires_grad_(), policy.length, policy.mask)
    one = sample_negatives(policy, None, beta=1.0, generator=torch.Generator().manual_seed(3))
    two = sample_negatives(policy, None, beta=1.0, generator=torch.Generator().manual_seed(3))
    assert torch.equal(one, two)
    assert one.dtype == torch.int64
    assert not one.requires_grad


@settings(deadline=None)
@given(st.integers(2, 8), st.integers(1, 5), st.integers(0, 2**31), st.booleans())
def test_never_a_masked_column(columns: int, negatives: int, seed: int, replacement: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    sums = 300 * torch.randn(16, columns, generator=generator)
    mask = torch.rand(16, columns, generator=generator) < 0.6
    mask[:, 0] = True
    policy = Logps(sums, torch.ones_like(sums).long(), mask)
    drawn = sample_negatives(
        policy, None, beta=1.0, negatives=negatives, replacement=replacement, generator=generator
    )
    real = drawn >= 0
    assert mask.gather(1, drawn.clamp(min=0))[real].all()
    assert (drawn != 0).all()
    wanted = mask[:, 1:].sum(1)
    wanted = (wanted > 0) * negatives if replacement else wanted.clamp(max=negatives)
    assert torch.equal(real.sum(1), wanted)


def test_bad_settings() -> None:
    policy, seeds = repeated(SUMS, rows=2)
    for wrong in ({"sampling": "hard"}, {"negatives": 0}, {"steps": 0}, {"proposals": 0}, {"beta": 0.0}):
        with pytest.raises(RecipeError):
            sample_negatives(policy, None, **({"beta": 1.0, "seeds": seeds} | wrong))
