"""Krippendorff's alpha: the published worked example, the package `krippendorff`, and the definition."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pairkit.intervals import Floats
from pairkit.rankers.panel.alpha import Level, coincidences, krippendorff_alpha

NAN = float("nan")
LEVELS: tuple[Level, ...] = ("nominal", "ordinal", "interval", "ratio")
# Krippendorff 2011, Computing Krippendorff's Alpha-Reliability, section C: four observers, twelve units.
PUBLISHED = np.array([
    [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
    [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
])  # fmt: skip


@pytest.mark.parametrize(
    ("level", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849), ("ratio", 0.797)]
)
def test_the_published_worked_example(level: Level, published: float) -> None:
    assert krippendorff_alpha(PUBLISHED, level) == pytest.approx(published, abs=5e-4)


def test_the_coincidences_of_the_worked_example() -> None:
    """Its matrix (section C, step 2): 26 of the values are on the diagonal, of 40 in all."""
    values, matrix = coincidences(PUBLISHED)
    assert values.tolist() == [1, 2, 3, 4, 5]
    expected = [
        [7, 4 / 3, 1 / 3, 1 / 3, 0],
        [4 / 3, 10, 4 / 3, 1 / 3, 0],
        [1 / 3, 4 / 3, 8, 1 / 3, 0],
        [1 / 3, 1 / 3, 1 / 3, 4, 0],
        [0, 0, 0, 0, 3],
    ]
    assert matrix == pytest.approx(np.array(expected))
    assert matrix.sum() == pytest.approx(40)


def test_the_two_observers_of_the_published_example_with_binary_data() -> None:
    """Krippendorff 2011, section A: ten units, alpha 0.095."""
    data = np.array([[0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0.0]])
    assert krippendorff_alpha(data, "nominal") == pytest.approx(0.095, abs=5e-4)


def by_definition(data: Floats, level: Level) -> float:
    """Compute alpha of the nominal or interval level pair by pair, as the paper defines it."""

    def distance(first: float, second: float) -> float:
        return float(first != second) if level == "nominal" else (first - second) ** 2

    units = [unit[~np.isnan(unit)] for unit in data.T]
    units = [unit for unit in units if len(unit) > 1]
    pooled = np.concatenate(units)
    observed = sum(
        sum(distance(a, b) for a, b in permutations(unit, 2)) / (len(unit) - 1) for unit in units
    ) / len(pooled)
    expected = sum(distance(a, b) for a, b in permutations(pooled, 2)) / (len(pooled) * (len(pooled) - 1))
    return 1 - observed / expected


VALUES = st.one_of(st.integers(1, 4).map(float), st.just(NAN))
DATA = arrays(np.float64, st.tuples(st.integers(2, 4), st.integers(2, 8)), elements=VALUES)


@given(DATA)
def test_alpha_is_what_the_paper_defines(data: Floats) -> None:
    values, _ = coincidences(data)
    used = data[:, (~np.isnan(data)).sum(axis=0) > 1]
    if len(np.unique(used[~np.isnan(used)])) < 2:
        for level in LEVELS:
            assert np.isnan(krippendorff_alpha(data, level))
        return
    assert len(values) >= 2
    for level in ("nominal", "interval"):
        assert krippendorff_alpha(data, level) == pytest.approx(by_definition(data, level))


@given(DATA)
def test_alpha_is_that_of_the_package_krippendorff(data: Floats) -> None:
    package = pytest.importorskip("krippendorff")
    used = data[:, (~np.isnan(data)).sum(axis=0) > 1]
    if len(np.unique(used[~np.isnan(used)])) < 2:
        return  # the package refuses what has no alpha
    for level in LEVELS:
        theirs = package.alpha(reliability_data=data, level_of_measurement=level)
        assert krippendorff_alpha(data, level) == pytest.approx(theirs)


def test_full_agreement_is_one_and_contradiction_is_below_zero() -> None:
    agreed = np.array([[1, 2, 3.0], [1, 2, 3]])
    opposed = np.array([[1, 2, 1, 2.0], [2, 1, 2, 1]])
    for level in LEVELS:
        assert krippendorff_alpha(agreed, level) == 1
        assert krippendorff_alpha(opposed, level) < 0
        assert np.isnan(krippendorff_alpha(np.full((2, 3), NAN), level))
