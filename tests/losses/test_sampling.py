"""The sampler: its frequencies against exact probabilities, its masks, its seeds.

Seeds are fixed, so that a p-value is the same on every run: a test of frequencies fails below 0.001.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations, permutations, product
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.grids import some

from pairkit.errors import InputError, RecipeError
from pairkit.losses import Logps, sample_negatives

ROWS = 20_000
SUMS = [3.0, 1.0, 0.2, -0.5, 2.0]
LENGTH = 10  # of every completion: without a reference, the reward is beta x sums / 10


def repeated(
    sums: list[float], mask: list[bool] | None = None, rows: int = ROWS
) -> tuple[Logps, torch.Tensor]:
    total = torch.tensor([sums], dtype=torch.float64).repeat(rows, 1)
    present = torch.tensor([mask or [True] * len(sums)]).repeat(rows, 1)
    return Logps(total, torch.full_like(total, LENGTH).long(), present), torch.arange(rows)


def softmax(values: list[float], beta: float, without: int = 1) -> list[float]:
    """The first `without` columns have none of it."""
    weights = [0.0] * without + [math.exp(beta * value) for value in values[without:]]
    return [weight / sum(weights) for weight in weights]


def p_value(samples: torch.Tensor, expected: dict[tuple[int, ...], float]) -> float:
    """Compute the p-value of Pearson's chi-square of `samples`, [N] or [N, M], given their probabilities."""
    rows, count = samples.reshape(len(samples), -1).unique(dim=0, return_counts=True)
    counted = {tuple(row): n for row, n in zip(rows.tolist(), count.tolist(), strict=True)}
    cells = {cell: len(samples) * share for cell, share in expected.items() if share > 0}
    assert sum(expected.values()) == pytest.approx(1.0)
    assert set(counted) <= set(cells)
    statistic = sum((counted.get(cell, 0) - wanted) ** 2 / wanted for cell, wanted in cells.items())
    half = torch.tensor([(len(cells) - 1) / 2, statistic / 2], dtype=torch.float64)
    return float(torch.special.gammaincc(half[0], half[1]))


def single(probabilities: list[float]) -> dict[tuple[int, ...], float]:
    return {(column,): share for column, share in enumerate(probabilities)}


def follows(samples: torch.Tensor, expected: dict[tuple[int, ...], float]) -> bool:
    return p_value(samples, expected) > 1e-3


def test_the_p_value_is_that_of_chi_square() -> None:
    """60 of 100 at one half: (10 / 50) x 10 x 2 = 4 with one degree of freedom, p = 0.0455."""
    samples = torch.tensor([0] * 60 + [1] * 40)
    assert p_value(samples, {(0,): 0.5, (1,): 0.5}) == pytest.approx(0.04550026, abs=1e-8)


def test_mc_frequencies_follow_the_softmax() -> None:
    policy, seeds = repeated(SUMS)
    samples = sample_negatives(policy, None, beta=5.0, seeds=seeds)
    assert follows(samples, single(softmax(SUMS, 0.5)))
    assert not follows(samples, single(softmax(SUMS, 0.6)))


def test_weights_are_rewards_or_log_probs() -> None:
    policy, seeds = repeated(SUMS)
    reference, _ = repeated([0.0, 2.0, 0.0, 0.0, 0.0])
    by_reward = sample_negatives(policy, reference, beta=0.7, seeds=seeds)
    assert follows(by_reward, single(softmax([3.0, -1.0, 0.2, -0.5, 2.0], 0.7)))
    by_logprob = sample_negatives(policy, reference, beta=0.7, weights="logprob", seeds=seeds)
    assert follows(by_logprob, single(softmax(SUMS, 0.7)))


def test_rewards_without_a_reference_are_means_over_each_completions_own_length() -> None:
    policy, seeds = repeated(SUMS)
    length = torch.tensor([[10, 2, 4, 1, 5]]).repeat(ROWS, 1)
    samples = sample_negatives(Logps(policy.sum, length, policy.mask), None, beta=1.5, seeds=seeds)
    assert follows(samples, single(softmax([0.3, 0.5, 0.05, -0.5, 0.4], 1.5)))


def test_include_chosen_and_random() -> None:
    policy, seeds = repeated(SUMS)
    samples = sample_negatives(policy, None, beta=5.0, include_chosen=True, seeds=seeds)
    assert follows(samples, single(softmax(SUMS, 0.5, without=0)))
    uniform = sample_negatives(policy, None, beta=5.0, sampling="random", seeds=seeds)
    assert follows(uniform, single([0, 0.25, 0.25, 0.25, 0.25]))
    both = sample_negatives(policy, None, beta=5.0, sampling="random", negatives=2, seeds=seeds)
    assert follows(both, dict.fromkeys(permutations(range(1, 5), 2), 1 / 12))


def without_replacement(p: list[float], count: int) -> dict[tuple[int, ...], float]:
    """Plackett-Luce: each column in proportion to its weight among those that are left."""
    chances = {}
    for order in permutations(range(len(p)), count):
        left = [1.0 - sum(p[i] for i in order[:k]) for k in range(count)]
        chances[order] = math.prod(p[i] / rest for i, rest in zip(order, left, strict=True))
    return chances


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("include_chosen", [False, True])
def test_samples_without_replacement_are_plackett_luce(count: int, include_chosen: bool) -> None:
    policy, seeds = repeated(SUMS)
    samples = sample_negatives(
        policy, None, beta=5.0, negatives=count, include_chosen=include_chosen, seeds=seeds
    )
    assert follows(samples, without_replacement(softmax(SUMS, 0.5, without=1 - include_chosen), count))


@pytest.mark.parametrize("count", [2, 3])
def test_samples_with_replacement_are_independent(count: int) -> None:
    policy, seeds = repeated(SUMS)
    samples = sample_negatives(policy, None, beta=5.0, negatives=count, replacement=True, seeds=seeds)
    p = softmax(SUMS, 0.5)
    assert follows(samples, {cell: math.prod(p[i] for i in cell) for cell in product(range(5), repeat=count)})


def after(weights: list[float], start: int, steps: int, proposals: int | None) -> list[float]:
    """The chain's exact distribution after some steps: a row vector times a power of its transition matrix.

    A step proposes a uniform subset of the candidates besides the state, and samples the next state from the
    proposals and the state in proportion to their weights. A state of weight 0 is no candidate.
    """
    columns = range(len(weights))

    def step(state: int) -> list[float]:
        others = [i for i in columns if weights[i] > 0 and i != state]
        subsets = list(combinations(others, min(proposals or len(others), len(others))))
        chances = [0.0] * len(weights)
        for subset in subsets:
            allowed = [*subset, state]
            mass = sum(weights[i] for i in allowed)
            for i in allowed:
                chances[i] += weights[i] / mass / len(subsets)
        return chances

    now = [float(i == start) for i in columns]
    for _ in range(steps):
        rows = [step(state) if now[state] else now for state in columns]
        now = [sum(now[state] * rows[state][i] for state in columns) for i in columns]
    return now


def test_the_stationary_distribution_of_uniform_proposals_is_the_softmax() -> None:
    weights = softmax(SUMS, 2.0, without=0)
    for proposals in (1, 2, 3, None):
        assert after(weights, 0, 400, proposals) == pytest.approx(weights, abs=1e-9)


@pytest.mark.default("2")
@pytest.mark.parametrize("proposals", some(lambda count: count in (2, None), [1, 2, 3, None]))
def test_chain_after_some_steps(proposals: int | None) -> None:
    policy, seeds = repeated(SUMS)
    for steps, chosen in product((1, 2, 3), (False, True)):
        chain = {"steps": steps, "proposals": proposals, "include_chosen": chosen}
        samples = sample_negatives(policy, None, beta=20.0, seeds=seeds, **chain)
        weights = softmax(SUMS, 2.0, without=1 - chosen)
        assert follows(samples, single(after(weights, 0, steps, proposals))), chain


@pytest.mark.parametrize("include_chosen", [False, True])
@pytest.mark.parametrize(("proposals", "steps"), [(1, 40), pytest.param(2, 20, marks=pytest.mark.full)])
def test_a_long_chain_reaches_the_softmax(proposals: int, steps: int, include_chosen: bool) -> None:
    policy, seeds = repeated(SUMS)
    samples = sample_negatives(
        policy, None, beta=20.0, proposals=proposals, steps=steps, include_chosen=include_chosen, seeds=seeds
    )
    assert follows(samples, single(softmax(SUMS, 2.0, without=1 - include_chosen)))


def test_a_second_chain_runs_over_the_remaining_candidates() -> None:
    policy, seeds = repeated(SUMS)
    samples = sample_negatives(policy, None, beta=20.0, negatives=2, proposals=1, steps=2, seeds=seeds)
    weights = softmax(SUMS, 2.0)
    expected = {}
    for first, share in enumerate(after(weights, 0, 2, 1)):
        left = [0.0 if i == first else weight for i, weight in enumerate(weights)]
        expected |= {(first, i): share * chance for i, chance in enumerate(after(left, 0, 2, 1)) if share}
    assert follows(samples, expected)


def test_max_min_worst_all() -> None:
    policy, seeds = repeated(SUMS, rows=2)

    def sample(**how: Any) -> list[int]:
        return sample_negatives(policy, None, beta=1.0, seeds=seeds, **how).tolist()[0]

    assert sample(sampling="max", negatives=2) == [4, 1]
    assert sample(sampling="min", negatives=2) == [3, 2]
    assert sample(sampling="worst", negatives=2) == [4, 3]
    assert sample(sampling="all") == [1, 2, 3, 4]
    assert sample(sampling="max", include_chosen=True) == [0]
    assert sample(sampling="max", negatives=3, replacement=True) == [4, 4, 4]
    assert sample(sampling="all", include_chosen=True) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("sampling", "wanted"), [("max", 4), ("min", 3), ("worst", 4)])
def test_only_mc_runs_the_chain(sampling: str, wanted: int) -> None:
    """The largest of some proposals is not the largest, so what mc proposes is nothing to the others."""
    policy, seeds = repeated(SUMS, rows=50)
    samples = sample_negatives(policy, None, beta=1.0, sampling=sampling, proposals=1, steps=3, seeds=seeds)
    assert set(samples.flatten().tolist()) == {wanted}


@pytest.mark.parametrize("sampling", ["max", "min"])
def test_max_and_min_order_by_the_weights(sampling: str) -> None:
    policy, seeds = repeated([0.0, 1.0, 5.0], rows=1)
    reference, _ = repeated([0.0, -9.0, 0.0], rows=1)  # log-ratios 10 and 5
    by_reward = sample_negatives(policy, reference, beta=1.0, sampling=sampling, seeds=seeds)
    by_logprob = sample_negatives(
        policy, reference, beta=1.0, sampling=sampling, weights="logprob", seeds=seeds
    )
    assert [by_reward.item(), by_logprob.item()] == ([1, 2] if sampling == "max" else [2, 1])


@pytest.mark.parametrize(("sampling", "far"), [("max", 1.0), ("min", -1.0)])
def test_rounding_does_not_decide_the_order(sampling: str, far: float) -> None:
    """Where policy and reference are the same, the sample must not depend on which texts passed together."""
    reference, seeds = repeated([-400.0, -500.0, -300.0, -90.0], rows=1)
    for noise in ([0, 3e-5, -6e-5, 1e-4], [0, -3e-5, 6e-5, -1e-4]):
        policy = replace(reference, sum=reference.sum + torch.tensor([noise]))
        assert sample_negatives(policy, reference, beta=1.0, sampling=sampling, seeds=seeds).item() == 1
        policy = replace(policy, sum=policy.sum + torch.tensor([[0, 0, 0, 0.01 * far]]))
        assert sample_negatives(policy, reference, beta=1.0, sampling=sampling, seeds=seeds).item() == 3


def test_fewer_candidates_than_requested() -> None:
    policy, seeds = repeated(SUMS, [True, False, True, False, True], rows=200)
    for sampling in ("mc", "max", "min", "random", "worst"):
        samples = sample_negatives(policy, None, beta=1.0, negatives=3, sampling=sampling, seeds=seeds)
        assert samples.shape == (200, 3)
        assert {tuple(sorted(row)) for row in samples.tolist()} == {(-1, 2, 4)}
        assert (samples[:, 2] == -1).all()
    samples = sample_negatives(policy, None, beta=1.0, negatives=3, replacement=True, seeds=seeds)
    assert set(samples.flatten().tolist()) == {2, 4}
    assert sample_negatives(policy, None, beta=1.0, sampling="all", seeds=seeds)[0].tolist() == [2, 4, -1, -1]


def test_a_set_without_negatives_gives_none() -> None:
    policy, seeds = repeated(SUMS, [True] + [False] * 4, rows=3)
    for sampling, replacement in product(("mc", "max", "min", "random", "worst"), (False, True)):
        how: dict[str, Any] = {"sampling": sampling, "replacement": replacement}
        samples = sample_negatives(policy, None, beta=1.0, negatives=2, steps=2, seeds=seeds, **how)
        assert samples.tolist() == [[-1, -1]] * 3, how


def test_masked_columns_do_not_affect_the_frequencies() -> None:
    """A masked column may hold anything, also NaN."""
    policy, seeds = repeated([3.0, math.nan, 0.2, 1e9, 2.0], [True, False, True, False, True])
    for proposals in (None, 1):
        samples = sample_negatives(policy, None, beta=5.0, proposals=proposals, steps=2, seeds=seeds)
        weights = [0.0, 0.0, *softmax([0.2, 2.0], 0.5, without=0)]
        weights.insert(3, 0.0)
        assert follows(samples, single(after(weights, 0, 2, proposals)))


HOW = [
    {"sampling": "mc"},
    {"sampling": "mc", "include_chosen": True, "replacement": True},
    {"sampling": "mc", "steps": 3, "proposals": 2},
    {"sampling": "max"},
    {"sampling": "random"},
]


@pytest.mark.parametrize("how", HOW)
def test_a_sample_depends_only_on_its_seed_and_columns(how: dict[str, Any]) -> None:
    generator = torch.Generator().manual_seed(0)
    sums = torch.randn(50, 6, dtype=torch.float64, generator=generator)
    policy = Logps(sums, torch.ones(50, 6).long(), torch.ones(50, 6).bool())
    seeds = torch.randint(-(2**63), 2**63 - 1, (50,), generator=generator)

    def sample(logps: Logps, seeds: torch.Tensor) -> torch.Tensor:
        return sample_negatives(logps, None, beta=1.0, negatives=3, seeds=seeds, **how)

    every = sample(policy, seeds)
    order = torch.randperm(50, generator=generator)
    assert torch.equal(sample(policy.rows(order), seeds[order]), every[order])
    for size in (1, 7):
        parts = torch.arange(50).split(size)
        assert torch.equal(torch.cat([sample(policy.rows(part), seeds[part]) for part in parts]), every)
    padded = policy.columns(torch.tensor([[0, 1, 2, 3, 4, 5, -1, -1]]).repeat(50, 1))
    assert torch.equal(sample(padded, seeds), every)
    in_float32 = Logps(sums.float(), policy.length, policy.mask)
    assert torch.equal(sample(in_float32, seeds), every)
    if how["sampling"] != "max":
        assert not torch.equal(sample(policy, seeds + 1), every)


@pytest.mark.parametrize("apart", [1, 2**20, 2**40, 2**62])
def test_samples_of_different_seeds_are_independent(apart: int) -> None:
    """Sets with consecutive seeds, and one set at different steps, whichever bits of the seed tell them."""
    policy, seeds = repeated(SUMS)
    p = softmax(SUMS, 0.5)
    pairs = {(i, j): p[i] * p[j] for i in range(5) for j in range(5)}
    here, there = (sample_negatives(policy, None, beta=5.0, seeds=2 * seeds + shift) for shift in (0, apart))
    assert follows(torch.cat([here, there], dim=1), pairs)
    assert follows(torch.cat([here[:-1:2], here[1::2]], dim=1), pairs)


def test_samples_are_independent_of_the_proposals_and_of_each_other() -> None:
    """Three steps and two samples of one row use different noise: the joint frequencies are products."""
    policy, seeds = repeated([0.0, 1.0, 2.0, 1.0])
    samples = sample_negatives(
        policy, None, beta=10.0, negatives=2, replacement=True, steps=3, proposals=1, seeds=seeds
    )
    p = after(softmax([0.0, 1.0, 2.0, 1.0], 1.0), 0, 3, 1)
    assert follows(samples, {(i, j): p[i] * p[j] for i in range(4) for j in range(4)})


def test_generator_and_no_gradient() -> None:
    policy, _ = repeated(SUMS, rows=30)
    policy = Logps(policy.sum.clone().requires_grad_(), policy.length, policy.mask)
    samples = [
        sample_negatives(policy, None, beta=1.0, generator=torch.Generator().manual_seed(seed))
        for seed in (3, 3, 4)
    ]
    assert torch.equal(samples[0], samples[1])
    assert not torch.equal(samples[0], samples[2])
    assert samples[0].dtype == torch.int64
    assert not samples[0].requires_grad
    generator = torch.Generator().manual_seed(3)
    first, second = (sample_negatives(policy, None, beta=1.0, generator=generator) for _ in range(2))
    assert torch.equal(first, samples[0])
    assert not torch.equal(first, second)


def test_samples_with_a_generator_follow_the_softmax() -> None:
    policy, _ = repeated(SUMS)
    samples = sample_negatives(policy, None, beta=5.0, generator=torch.Generator().manual_seed(1))
    assert follows(samples, single(softmax(SUMS, 0.5)))


def test_extreme_log_ratios_take_the_largest() -> None:
    policy, seeds = repeated([0.0, -1e6, 1e6, 0.0], rows=100)
    assert (sample_negatives(policy, None, beta=1.0, weights="logprob", seeds=seeds) == 2).all()
    three = sample_negatives(policy, None, beta=1.0, weights="logprob", negatives=3, seeds=seeds)
    assert three.tolist() == [[2, 3, 1]] * 100


@given(st.integers(2, 8), st.integers(1, 5), st.integers(0, 2**31), st.booleans(), st.booleans())
def test_masked_columns_are_never_sampled(
    columns: int, negatives: int, seed: int, replacement: bool, include_chosen: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    sums = 300 * torch.randn(16, columns, generator=generator)
    mask = torch.rand(16, columns, generator=generator) < 0.6
    mask[:, 0] = True
    policy = Logps(sums, torch.ones_like(sums).long(), mask)
    for how in ({}, {"steps": 3, "proposals": 2}):
        samples = sample_negatives(
            policy, None, beta=1.0, negatives=negatives, replacement=replacement,
            include_chosen=include_chosen, generator=generator, **how,
        )  # fmt: skip
        real = samples >= 0
        assert mask.gather(1, samples.clamp(min=0))[real].all()
        assert include_chosen or (samples != 0).all()
        candidates = mask[:, 1 - include_chosen :].sum(1)
        wanted = (candidates > 0) * negatives if replacement else candidates.clamp(max=negatives)
        assert torch.equal(real.sum(1), wanted)
        if not replacement:
            assert all(
                len(set(row)) == len(row) for row in ([i for i in r if i >= 0] for r in samples.tolist())
            )


BAD_SETTINGS: list[dict[str, Any]] = [
    {"sampling": "hard"}, {"weights": "score"}, {"negatives": 0}, {"negatives": 1.5}, {"steps": 0},
    {"proposals": 0}, {"include_chosen": 1}, {"beta": 0.0}, {"beta": -1.0}, {"beta": math.nan},
    {"beta": math.inf},
]  # fmt: skip


def test_bad_settings_are_refused() -> None:
    policy, seeds = repeated(SUMS, rows=2)
    for wrong in BAD_SETTINGS:
        with pytest.raises(RecipeError, match=f"sample_negatives.{next(iter(wrong))}"):
            sample_negatives(policy, None, **({"beta": 1.0, "seeds": seeds} | wrong))


def test_bad_tensors_are_refused() -> None:
    policy, seeds = repeated(SUMS, rows=3)
    for wrong in (seeds[:1], seeds[:, None], seeds.int(), seeds.double()):
        with pytest.raises(InputError, match="seeds must be int64"):
            sample_negatives(policy, None, beta=1.0, seeds=wrong)
    with pytest.raises(InputError, match="reference has shape"):
        sample_negatives(policy, repeated(SUMS, rows=1)[0], beta=1.0, seeds=seeds)
