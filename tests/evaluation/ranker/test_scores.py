"""The metrics of a ranker, against counts by hand and by brute force."""

from __future__ import annotations

from itertools import combinations
from math import exp, log, sqrt
from typing import Any

import numpy as np
import pytest
from support.tiny import candidate_sets, completion

from pairkit.evaluation.measures import Measured, measure
from pairkit.evaluation.ranker.calibration import calibration_of
from pairkit.evaluation.ranker.reference import Reference, pairs_of, reference_of
from pairkit.evaluation.ranker.scores import margin_edges, measured_of, tau_b, top_1


def reference(*sets: list[tuple[int, float | None]], prompts: list[str] | None = None) -> Reference:
    """Sets of completions with (rank, score); texts of 1, 2, ... characters, the first one the shortest."""
    rows = [
        (
            prompts[number] if prompts else f"{number}?",
            [completion("x" * (place + 1), rank, score=score) for place, (rank, score) in enumerate(each)],
        )
        for number, each in enumerate(sets)
    ]
    return reference_of(candidate_sets(rows), [None] * len(rows))


def metrics(
    data: Reference, values: list[float], factor: float | None = None, **fields: Any
) -> dict[str, Measured]:
    pairs = pairs_of(data)
    edges = fields.get("edges", margin_edges(data, pairs))
    return {one.name: one for one in measured_of(data, pairs, np.array(values), edges, factor)}


def test_points_are_counted_by_hand() -> None:
    # Set 0: 2 > 1 right, so is 2 > 0; the tie of 1 and 0 is a half. Set 1: wrong.
    data = reference([(3, None), (2, None), (1, None)], [(1, None), (2, None)])
    found = metrics(data, [1.0, 1.0, 5.0, 0.0, 3.0])
    assert found["pairwise_accuracy"].scores == pytest.approx([2.5 / 3, 0])
    assert measure(found["pairwise_accuracy"]).value == pytest.approx(100 * 2.5 / 6)
    assert measure(found["pairwise_accuracy_over_pairs"]).value == pytest.approx(100 * 2.5 / 4)
    assert found["top_1"].scores == pytest.approx([1, 0])
    # The better one is longer in the first set alone, where 2.5 of 3 pairs go to the longer one.
    assert found["prefers_longer"].scores == pytest.approx([2.5 / 3, 1])
    assert found["pairwise_accuracy_by_length/better one longer"].prompt_ids == data.prompt_ids[:1]
    assert found["pairwise_accuracy_by_length/better one shorter"].prompt_ids == data.prompt_ids[1:]


def test_sets_of_one_prompt_are_one_observation() -> None:
    data = reference(
        [(1, None), (2, None)], [(1, None), (2, None)], [(1, None), (2, None)], prompts=["a", "b", "a"]
    )
    found = metrics(data, [2.0, 1.0, 2.0, 1.0, 1.0, 2.0])
    assert found["pairwise_accuracy"].scores == pytest.approx([0.5, 1])
    assert found["pairwise_accuracy_over_pairs"].weights == pytest.approx([2, 1])
    assert "kendall_tau" not in found  # of pairs it is the accuracy again


def test_a_tie_at_the_top_has_the_share_of_the_right_ones() -> None:
    data = reference([(1, None), (2, None), (2, None), (2, None)], [(1, None), (1, None), (3, None)])
    assert top_1(data, np.array([5.0, 5.0, 1.0, 5.0, 1.0, 4.0, 4.0])) == pytest.approx([1 / 3, 1 / 2])
    assert np.isnan(top_1(data, np.array([np.nan] * 4 + [3.0, 1.0, 2.0]))[0])


def test_tau_b_is_that_of_brute_force() -> None:
    random = np.random.default_rng(0)
    for size in (2, 3, 5, 9):
        sets = [[(int(rank), None) for rank in random.integers(1, 4, size)] for _ in range(20)]
        values = random.integers(0, 4, 20 * size).astype(float)
        data = reference(*sets)
        found = tau_b(data, pairs_of(data), values)
        for number, each in enumerate(sets):
            scores = values[number * size : (number + 1) * size]
            assert found[number] == pytest.approx(_tau([-rank for rank, _ in each], list(scores)))


def _tau(x: list[int], y: list[float]) -> float:
    pairs = [(x[i] - x[j], y[i] - y[j]) for i, j in combinations(range(len(x)), 2)]
    agree = sum(a * b > 0 for a, b in pairs) - sum(a * b < 0 for a, b in pairs)
    below = sqrt(sum(a != 0 for a, _ in pairs) * sum(b != 0 for _, b in pairs))
    return agree / below if below else 0.0


def test_margins_are_in_quartiles_or_in_the_bins_that_are_given() -> None:
    data = reference(*([(1, 1.0 + margin), (2, 1.0)] for margin in (1, 2, 3, 4)))
    right = [1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0]
    found = metrics(data, right, edges=(2.0, 3.5))
    accuracies = {name: measure(one) for name, one in found.items() if "by_margin" in name}
    name = "pairwise_accuracy_by_margin"
    assert {key: (one.value, one.n) for key, one in accuracies.items()} == {
        f"{name}/below 2": (100, 1),
        f"{name}/2 to 3.5": (50, 2),
        f"{name}/3.5 and more": (100, 1),
    }
    assert margin_edges(data, pairs_of(data)) == (1.75, 2.5, 3.25)
    assert not any("by_margin" in key for key in metrics(reference([(1, None), (2, None)]), [1.0, 0.0]))


def test_a_set_without_scores_is_missing_and_no_zero() -> None:
    data = reference([(1, None), (2, None)], [(1, None), (2, None)])
    found = metrics(data, [np.nan, np.nan, 2.0, 1.0])
    for name in ("pairwise_accuracy", "top_1"):
        assert np.isnan(found[name].scores).tolist() == [True, False]
        assert measure(found[name])[1:2] == (100,)


def test_log_loss_and_calibration_are_those_of_the_probabilities() -> None:
    data = reference(*([(1, None), (2, None)] for _ in range(4)))
    # Differences of 2 (right), 2 (wrong), 0 and -4 by the better one.
    values = [2.0, 0.0, 0.0, 2.0, 1.0, 1.0, 0.0, 4.0]
    found = metrics(data, values, factor=0.5)
    losses = [log(1 + exp(-x)) for x in (1, -1, 0, -2)]
    assert found["log_loss"].scores == pytest.approx(losses)
    calibration = calibration_of(data, pairs_of(data), np.array(values), 0.5)
    assert calibration is not None
    one, two = 1 / (1 + exp(-1)), 1 / (1 + exp(-2))
    told = [(each.predicted, each.right, each.pairs) for each in calibration.bins]
    assert told == [pytest.approx(each) for each in [(0.5, 0.5, 1), (one, 0.5, 2), (two, 0.0, 1)]]
    # By hand: bins of 1, 2 and 1 pairs.
    assert calibration.ece.value == pytest.approx((0 + 2 * (one - 0.5) + two) / 4)
    assert measure(calibration.ece).value == calibration.ece.value


def test_the_interval_of_a_calibration_error_is_within_its_range() -> None:
    """Of few pairs, the error of which is larger than the value."""
    random = np.random.default_rng(3)
    low, high = [], []
    for _ in range(30):
        gaps = random.normal(0, 1, 5)
        right = random.random(5) < 1 / (1 + np.exp(-gaps))
        data = reference(*([(1, None), (2, None)] if first else [(2, None), (1, None)] for first in right))
        values = np.stack([gaps, np.zeros(5)], axis=1).ravel()
        calibration = calibration_of(data, pairs_of(data), values, 1.0)
        assert calibration is not None
        metric = measure(calibration.ece)
        assert metric.value is not None
        assert metric.se is not None
        low.append(metric.value - 1.96 * metric.se)
        high.append(metric.value + 1.96 * metric.se)
        assert (metric.low, metric.high) == pytest.approx((max(low[-1], 0), min(high[-1], 1)), abs=1e-4)
    assert min(low) < 0


@pytest.mark.full
def test_calibrated_scores_have_a_small_error_and_certain_ones_a_large_one() -> None:
    random = np.random.default_rng(1)
    gaps = random.normal(0, 2, 4000)
    right = random.random(4000) < 1 / (1 + np.exp(-gaps))
    # The score of the first is higher by `gaps`; which is better is drawn with that probability.
    data = reference(*([(1, None), (2, None)] if first else [(2, None), (1, None)] for first in right))
    values = np.stack([gaps, np.zeros(4000)], axis=1).ravel()
    pairs = pairs_of(data)
    calibrated, certain = (calibration_of(data, pairs, values, factor) for factor in (1.0, 4.0))
    assert calibrated is not None
    assert certain is not None
    assert calibrated.ece.value is not None
    assert calibrated.ece.value < 0.03
    assert certain.ece.value is not None
    assert certain.ece.value > 0.1
    assert all(each.right_low - 0.02 <= each.predicted <= each.right_high + 0.02 for each in calibrated.bins)
