"""Holm's correction against the definition, and the p-value of a normal error."""

from __future__ import annotations

from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairkit.evaluation.holm import holm, normal_p


def rejected_step_by_step(p_values: list[float], level: float) -> set[int]:
    """Reject the smallest p-value while it is below the level over the number of those that are left."""
    rejected: set[int] = set()
    while left := [place for place in range(len(p_values)) if place not in rejected]:
        smallest = min(left, key=lambda place: p_values[place])
        if p_values[smallest] * len(left) >= level:
            break
        rejected.add(smallest)
    return rejected


@given(st.lists(st.integers(0, 100).map(lambda n: n / 100), max_size=8), st.sampled_from([0.01, 0.055, 0.2]))
def test_adjusted_values_reject_what_the_procedure_rejects(p_values: list[float], level: float) -> None:
    adjusted = holm(p_values)
    assert {place for place, p in enumerate(adjusted) if p < level} == rejected_step_by_step(p_values, level)
    assert all(p <= new <= 1 for p, new in zip(p_values, adjusted, strict=True))


def test_worked_example() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


@pytest.mark.parametrize("z", [0.0, 0.5, -1.0, 1.96, 3.0])
def test_p_of_a_normal_error(z: float) -> None:
    assert normal_p(2 * z, 2.0) == pytest.approx(2 * (1 - NormalDist().cdf(abs(z))))
