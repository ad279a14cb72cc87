"""Agreement with people, computed by hand, and its plot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.labeled import NAN

from pairkit.evaluation.judge.agreement import (
    Measure,
    agreement_by_length,
    agreement_by_subset,
    cohen_kappa,
    length_bins,
    overall_agreement,
)
from pairkit.evaluation.judge.plot import plot_agreement


def named(measures: list[Measure]) -> dict[str, tuple[float, int]]:
    return {one.name: (round(one.value.mean, 6), one.pairs) for one in measures}


def test_agreement_matches_hand_computation() -> None:
    """Right, right, wrong, a tie where people prefer one, both tie, no majority, no verdict."""
    verdicts = np.array([1, 0, 1, 0.5, 0.5, 1, NAN])
    labels = np.array(
        [[1, 1, 1], [0, 0, 1], [0, 0, 0], [1, 1, 0.5], [0.5, 0.5, 0.5], [1, 0, 0.5], [1, 1, 1]], dtype=float
    )
    found = named(overall_agreement(verdicts, labels, list(range(7))))
    assert found["agreement"] == (0.6, 5)  # 1, 1, 0, 0, 1
    assert found["accuracy_ties_half"] == (0.625, 4)  # 1, 1, 0, 1/2
    assert found["accuracy_without_ties"] == (round(2 / 3, 6), 3)  # 1, 1, 0
    # rows: the judge's 0, 1/2, 1 are 1, 2, 2; people's 2, 1, 2; expected (1*2 + 2*1 + 2*2) / 25 = 0.32
    assert found["kappa"] == (round((0.6 - 0.32) / 0.68, 6), 5)
    # the judge with each annotator: 1, 2/3, 0, 1/3, 1, 1/3
    assert found["agreement_with_one"] == (round((1 + 2 / 3 + 0 + 1 / 3 + 1 + 1 / 3) / 6, 6), 6)
    # among the three: 1, 1/3, 1, 1/3, 1, 0, 1
    assert found["agreement_of_people"] == (round((1 + 1 / 3 + 1 + 1 / 3 + 1 + 0 + 1) / 7, 6), 7)
    assert "agreement_of_people" not in named(overall_agreement(verdicts, labels[:, :1], list(range(7))))


def test_agreement_by_length_matches_hand_computation() -> None:
    """Lengths 9 and 19 have a ratio of 1/2, because one is added to each."""
    verdicts = np.array([1, 1, 0, 0.5, 1])
    labels = np.array([[1], [0], [0], [1], [0.5]], dtype=float)
    lengths = np.array([[8, 19], [9, 19], [19, 19], [99, 9], [5, 6]], dtype=float)
    found = named(agreement_by_length(verdicts, labels, lengths, list(range(5))))
    assert found["preferred_shorter"] == (1.0, 1)
    assert found["preferred_longer"] == (0.25, 2)
    assert found["below 0.5"] == (1.0, 1)
    assert found["0.8 to 1.25"] == (1.0, 1)
    assert found["2 and more"] == (0.25, 2)
    assert set(found) & {"0.5 to 0.8", "1.25 to 2"} == set()
    assert found["judge_prefers_longer"] == (0.0, 2)
    assert found["people_prefer_longer"] == (0.5, 2)
    of = named(agreement_by_subset(verdicts, labels, ["x", "x", None, "y", "y"], list(range(5))))
    assert of == {"x": (0.5, 2), "y": (0.5, 1)}


def test_intervals_resample_whole_prompts() -> None:
    """A hundred pairs of two prompts give no more certainty than two pairs."""
    random = np.random.default_rng(0)
    labels = random.choice([0.0, 1.0], (100, 1))
    verdicts = np.where(np.arange(100) < 50, labels[:, 0], 1 - labels[:, 0])
    many = {one.name: one.value for one in overall_agreement(verdicts, labels, list(range(100)))}
    two = {
        one.name: one.value
        for one in overall_agreement(verdicts, labels, [index // 50 for index in range(100)])
    }
    for name in ("agreement", "kappa"):
        assert many[name].mean == two[name].mean
        assert two[name].high - two[name].low > 3 * (many[name].high - many[name].low)
    assert (two["agreement"].low, two["agreement"].high) == (0, 1)


def test_kappa_is_zero_by_chance_and_one_for_full_agreement() -> None:
    assert cohen_kappa([[3, 0, 0], [0, 2, 0], [0, 0, 4]]) == 1
    assert cohen_kappa(np.outer([1, 2, 3], [2, 1, 5])) == pytest.approx(0)
    assert np.isnan(cohen_kappa(np.diag([5, 0, 0])))
    assert np.isnan(cohen_kappa(np.zeros((3, 3))))


def test_no_measures_without_verdicts() -> None:
    verdicts, labels = np.array([NAN]), np.array([[1.0]])
    assert overall_agreement(verdicts, labels, [0]) == []
    assert agreement_by_length(verdicts, labels, np.ones((1, 2)), [0]) == []


def test_the_plot_is_an_image(tmp_path: Path) -> None:
    measures = agreement_by_length(
        np.array([1.0, 0.0]), np.array([[1.0], [1.0]]), np.array([[1, 9], [9, 9]], dtype=float), [0, 1]
    )
    for name, shown in (("full", measures), ("empty", [])):
        plot_agreement(shown, tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert len(length_bins()) == 5
