"""Numbers over the steps: seeds joined, long curves thinned."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pairkit.run_report.series import POINTS, joined


def test_seeds_are_joined_at_the_steps_that_all_have() -> None:
    found = joined([{1: 1.0, 2: 2.0, 3: 3.0}, {1: 3.0, 3: 3.0, 4: 0.0}, {0: 9.0, 1: 5.0, 3: 6.0}])
    assert found.steps == [1, 3]
    assert found.mean.tolist() == [3.0, 4.0]
    assert found.deviation is not None
    assert found.deviation.tolist() == pytest.approx([2.0, math.sqrt(3)])
    line = found.line("#3b6fe0")
    assert line.low is not None
    assert line.high is not None
    assert (np.array(line.high) - line.low).tolist() == pytest.approx([4.0, 2 * math.sqrt(3)])


def test_one_seed_has_no_band() -> None:
    found = joined([{2: 1.0, 1: 2.0}])
    assert (found.steps, found.mean.tolist(), found.deviation) == ([1, 2], [2.0, 1.0], None)
    assert found.line("#3b6fe0").low is None


def test_seeds_without_a_common_step_have_no_points() -> None:
    assert joined([{1: 1.0}, {2: 1.0}]).steps == []


def test_long_curves_are_means_of_parts() -> None:
    values = {step: float(step) for step in range(1, 4 * POINTS + 1)}
    values[2] = math.nan
    values.update(dict.fromkeys(range(5, 9), math.nan))
    found = joined([values])
    line = found.line("#3b6fe0")
    assert len(line.steps) == POINTS
    assert list(line.steps[:3]) == [4, 8, 12]
    assert line.values[0] == pytest.approx((1 + 3 + 4) / 3)
    assert math.isnan(line.values[1])  # nothing of it is finite
    assert line.values[2] == 10.5
    # Tables have every step.
    rows = list(found.rows("run", "loss", sets="s"))
    assert len(rows) == len(found.rows("run", "loss")) == len(values)
    assert rows[8] == {
        "setting": "run", "sets": "s", "number": "loss", "step": 9, "mean": 9.0, "deviation": None,
    }  # fmt: skip


def test_peaks_of_long_curves_are_the_largest_of_each_part() -> None:
    values = dict.fromkeys(range(1, 4 * POINTS + 1), 1.0)
    values |= {2: 50.0, 3: math.nan} | dict.fromkeys(range(5, 9), math.nan)
    peaks = joined([values, dict.fromkeys(values, 2.0)]).peaks("#3b6fe0")
    assert list(peaks.values[:3]) == [50.0, 2.0, 2.0]
    assert list(peaks.steps[:3]) == [4, 8, 12]
