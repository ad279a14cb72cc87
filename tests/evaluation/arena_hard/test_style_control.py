"""The estimator of style control on drawn verdicts, and where it has no estimate."""

from __future__ import annotations

import numpy as np
import pytest
from support.grids import some

from pairkit.evaluation.arena_hard.fit import NoMaximumError, curvature, fit, fits, sigmoid
from pairkit.evaluation.arena_hard.style_control import Battles, controlled, differences, standardized


def drawn(seed: int, count: int, models: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the design of `models` and four features, verdicts drawn from it, and the truth."""
    random = np.random.default_rng(seed)
    truth = np.concatenate([random.normal(0, 0.5, models), [0.3, 0, 0.2, -0.1]])
    design = np.column_stack(
        [np.eye(models)[random.integers(0, models, count)], random.normal(size=(count, 4))]
    )
    points = (random.random(count) < 1 / (1 + np.exp(-design @ truth))).astype(float)
    return design, points, truth


def test_drawn_verdicts_give_back_what_they_were_drawn_from() -> None:
    off = []
    for seed in range(20):
        design, points, truth = drawn(seed, 20_000)
        theta = fit(design, points, np.ones(len(points)))
        inverse = np.linalg.inv(curvature(design, theta, np.ones(len(points)), 0.0))
        off.append((theta - truth) / np.sqrt(np.diag(inverse)))
    # The largest of 80 features' standard normals is 2.6 on average, and of all 160 seldom above 4.
    assert np.abs(off).max() < 4
    assert np.sqrt(np.mean(np.square(off))) == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("ridge", [0.0, 1.0])
def test_the_fit_is_the_optimum(ridge: float) -> None:
    """By the definition of the loss alone: no step in any direction decreases it."""
    design, points, _ = drawn(1, 300)
    points[:40] = 0.5
    weights = np.random.default_rng(2).integers(1, 4, 300).astype(float)

    def loss(theta: np.ndarray) -> float:
        eta = design @ theta
        likelihood = weights * (np.log1p(np.exp(eta)) - points * eta)
        return float(likelihood.sum() + ridge / 2 * theta @ theta)

    theta = fit(design, points, weights, ridge)
    for direction in np.random.default_rng(3).normal(size=(50, len(theta))):
        assert loss(theta + 1e-3 * direction) > loss(theta)
    many = fits(design, points, np.stack([weights, 2 * weights]), ridge, np.zeros(len(theta)))
    assert many[0] == pytest.approx(theta, abs=1e-8)
    assert bool(np.abs(many[1] - theta).max() < 1e-8) is (ridge == 0)


def test_outliers_do_not_stop_the_fit() -> None:
    """A full Newton step from zero would overshoot."""
    random = np.random.default_rng(0)
    design = np.column_stack(
        [np.ones(200), np.where(random.random(200) < 0.03, 40.0, random.normal(size=200))]
    )
    points = (random.random(200) < sigmoid(design @ np.array([0.5, 0.2]))).astype(float)
    theta = fit(design, points, np.ones(200))
    assert np.abs(design.T @ (sigmoid(design @ theta) - points)).max() < 1e-7


def battles(own: np.ndarray, points: np.ndarray, model: np.ndarray | None = None) -> Battles:
    """Two games per prompt against a reference whose answers have the features 10, 1, 1, 1."""
    count = len(points)
    return Battles(
        np.zeros(count, dtype=np.int64) if model is None else model,
        np.arange(count) // 2,
        points,
        np.ones(count),
        own,
        np.tile([10.0, 1, 1, 1], (count, 1)),
    )


@pytest.mark.full
@pytest.mark.parametrize("version", some(lambda version: version == "2.0", ["0.1", "2.0"]))
def test_equal_style_takes_out_what_length_won(version: str) -> None:
    """Of equal strength, longer in three of four prompts, and the longer answer wins three of four."""
    random = np.random.default_rng(5)
    longer = np.repeat(random.random(1000) < 0.75, 2)
    own = np.column_stack([np.where(longer, 20.0, 5.0), np.ones((2000, 3))])
    points = (random.random(2000) < np.where(longer, 0.75, 0.25)).astype(float)
    assert points.mean() > 0.6
    games = battles(own, points)
    # Both lengths are a third of the sum away from the reference's, but for the + 1 of v0.1.
    found = controlled(games, (0,), version, "equal", prompts=1000)
    assert found.value == pytest.approx(0.5, abs=0.05)
    assert found.interval[0] < 0.5 < found.interval[1]
    pooled = controlled(games, (0,), version, "pool", prompts=1000)
    assert pooled.value == pytest.approx(points.mean(), abs=0.05)


@pytest.mark.full
def test_a_pool_shifts_a_model_and_equal_style_does_not() -> None:
    """Another model of twice the length in the pool moves the mean that the public formula subtracts."""
    random = np.random.default_rng(6)
    lengths = random.integers(5, 30, 600).astype(float)
    own = np.column_stack([lengths, np.ones((600, 3))])
    points = (random.random(600) < sigmoid((lengths - 15) / 10)).astype(float)
    first = battles(own, points)
    other = own * np.array([4.0, 1, 1, 1])
    second = (random.random(600) < 0.7).astype(float)
    both = Battles(
        np.repeat([0, 1], 600),
        np.tile(first.prompt, 2),
        np.concatenate([points, second]),
        np.ones(1200),
        np.concatenate([own, other]),
        np.concatenate([first.base, first.base]),
    )
    alone, together = (controlled(each, (0,), "2.0", "pool", prompts=300) for each in (first, both))
    assert together.value > alone.value + 0.05
    z, _ = standardized(differences(first.own, first.base, "2.0")[:, :1], first.weight, "2.0", "equal")
    plain = fit(np.column_stack([np.ones(600), z]), points, np.ones(600))
    equal = controlled(first, (0,), "2.0", "equal", prompts=300)
    assert equal.value == pytest.approx(float(sigmoid(plain[0])), abs=1e-9)


def test_prompts_without_a_game_change_no_interval() -> None:
    random = np.random.default_rng(11)
    own = np.column_stack([random.integers(5, 30, 60), np.ones((60, 3))]).astype(float)
    games = battles(own, random.integers(0, 3, 60) / 2)
    few, many = (controlled(games, (0,), "0.1", "equal", prompts=prompts) for prompts in (30, 500))
    assert many.interval == few.interval
    apart = games._replace(prompt=games.prompt * 16)
    assert controlled(apart, (0,), "0.1", "equal", prompts=500).interval == few.interval
    assert np.sqrt((many.influence**2).sum()) == pytest.approx(np.sqrt((few.influence**2).sum()))


def test_constant_features_are_left_out_and_named() -> None:
    random = np.random.default_rng(7)
    own = np.column_stack([random.integers(5, 30, 200), np.full(200, 3), random.integers(0, 4, (200, 2))])
    points = random.integers(0, 3, 200) / 2
    found = controlled(battles(own.astype(float), points), (0, 1, 2, 3), "0.1", "equal", prompts=100)
    assert (found.constant, list(found.coefficients)) == (("header",), ["length", "list", "bold"])


def test_no_finite_estimate_is_an_error_and_no_number() -> None:
    random = np.random.default_rng(8)
    own = random.integers(0, 40, (60, 4)).astype(float)
    with pytest.raises(NoMaximumError):
        controlled(battles(own, np.ones(60)), (0,), "2.0", "equal", prompts=30)
    # Length alone separates.
    with pytest.raises(NoMaximumError):
        controlled(battles(own, (own[:, 0] > 20).astype(float)), (0,), "2.0", "equal", prompts=30)
    # The ridge of v0.1 has an estimate for both.
    found = controlled(battles(own, np.ones(60)), (0,), "0.1", "equal", prompts=30)
    assert 0.9 < found.value < 1


def test_features_that_are_one_still_have_a_score_unless_they_are_the_models_too() -> None:
    random = np.random.default_rng(9)
    count = random.integers(0, 9, 400).astype(float)
    own = np.column_stack([np.full(400, 10.0), count, count, count])
    points = random.integers(0, 3, 400) / 2
    one, three = (
        controlled(battles(own, points), columns, "2.0", "equal", prompts=200)
        for columns in ((1,), (1, 2, 3))
    )
    assert three.value == pytest.approx(one.value, abs=1e-6)
    assert three.influence == pytest.approx(one.influence, abs=1e-6)
    # Two lengths and two densities are the same difference, but for a constant that the model has, too.
    own = np.column_stack([np.where(count > 4, 20.0, 5.0), np.ones((400, 3))])
    with pytest.raises(NoMaximumError):
        controlled(battles(own, points), (0, 1), "2.0", "equal", prompts=200)


def test_two_empty_answers_are_equally_long() -> None:
    z = differences(np.zeros((1, 4)), np.zeros((1, 4)), "2.0")
    assert z.tolist() == [[0.0] * 4]
