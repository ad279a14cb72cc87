"""The matrix, its strengths and its cycles, from points."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairkit.evaluation.answers import Question
from pairkit.evaluation.holm import holm
from pairkit.evaluation.matrix.cycles import cycles_of
from pairkit.evaluation.matrix.judging import pairs_of
from pairkit.evaluation.matrix.outcomes import mean_win_rate
from pairkit.evaluation.matrix.plot import plot_matrix
from pairkit.evaluation.matrix.strengths import largest_gap, strengths_of
from pairkit.evaluation.matrix.table import Cell, cells_of, matrix_of, scores_over
from pairkit.evaluation.measures import measure
from pairkit.intervals import Floats
from pairkit.rankers.judge.bradley_terry import strengths

MODELS = ("a", "b", "c", "d")


def played(seed: int = 0, n: int = 60, models: int = 4) -> Floats:
    """Points of models of which each is better than the next, `[pairs, n, 2]`."""
    random = np.random.default_rng(seed)
    pairs = list(itertools.combinations(range(models), 2))
    chances = np.array([[0.5 + 0.08 * (j - i)] for i, j in pairs])
    won = random.random((len(pairs), n, 2)) < chances[..., None]
    return np.where(random.random(won.shape) < 0.2, 0.5, won.astype(float))


def cells(points: Floats, models: tuple[str, ...] = MODELS) -> list[Cell]:
    return cells_of(models, [str(n) for n in range(points.shape[1])], points, seed=0)


def test_strengths_of_published_tables(real_data: Path) -> None:
    vectors: dict[str, Any] = json.loads((real_data / "eval_vectors.json").read_text())["head_to_head"]
    assert len(vectors) == 2
    for vector in vectors.values():
        matrix = np.array(vector["matrix"])
        won = 200 * matrix / 100
        np.fill_diagonal(won, 0)
        fitted = strengths(won[None])[0]
        assert fitted == pytest.approx(np.array(vector["bt_prior"]), abs=1e-6)
        np.fill_diagonal(matrix, np.nan)
        gap, _ = largest_gap(matrix, fitted)
        assert gap == pytest.approx(vector["largest_residual"], abs=1e-6)


def test_strengths_from_scores_are_those_of_the_table(real_data: Path) -> None:
    """200 prompts in which one game each decides, so that the table's shares are met to a half game."""
    vector = json.loads((real_data / "eval_vectors.json").read_text())["head_to_head"]["Qwen2.5-7B"]
    matrix = np.array(vector["matrix"])
    rows = []
    for i, j in itertools.combinations(range(5), 2):
        wins = round(2 * matrix[i, j])
        rows.append(np.repeat([1.0, 0.0], [wins, 200 - wins]))
    found = strengths_of(np.array(rows), 5, seed=0, resamples=50)
    values = np.array([strength.value for strength in found.strengths])
    # Those without a prior have a mean of 0; the prior weighs little against 400 games per pair.
    assert values - values.mean() == pytest.approx(np.array(vector["bt"]), abs=0.03)


def test_the_matrix_and_its_mirror_image_sum_to_100() -> None:
    points = played()
    matrix = matrix_of(MODELS, cells(points))
    assert np.isnan(np.diagonal(matrix)).all()
    off = ~np.eye(4, dtype=bool)
    assert (matrix + matrix.T)[off] == pytest.approx(np.full(12, 100.0))
    assert matrix[0, 1] == pytest.approx(100 * points[0].mean())
    assert matrix[3, 2] == pytest.approx(100 - 100 * points[5].mean())


def test_cells_have_counts_intervals_and_corrected_p_values() -> None:
    points = played()
    points[0, 3] = np.nan
    points[0, 4, 1] = np.nan
    found = cells(points)
    first = found[0]
    assert (first.metric.n, first.orders.one, first.orders.none) == (59, 1, 1)
    assert first.games.number == 117
    assert first.orders.flips == (np.abs(points[0, :, 0] - points[0, :, 1]) == 1).sum()
    assert [cell.p_holm for cell in found] == holm([cell.p for cell in found if cell.p is not None])
    assert all(cell.p_holm >= cell.p for cell in found if cell.p_holm is not None and cell.p is not None)
    assert found[2].significant  # a over d
    assert found[2].better == ("a", "d")


@pytest.mark.parametrize(("won", "p"), [(5, 2 / 32), (4, 2 / 16), (6, 2 / 64)])
def test_few_prompts_have_the_sign_test(won: int, p: float) -> None:
    points = np.full((1, 8, 2), 0.5)
    points[0, :won] = 1
    (cell,) = cells(points, ("a", "b"))
    assert cell.p == pytest.approx(p)
    assert cell.significant == (won == 6)


def test_all_wins_are_significant_and_all_ties_are_not() -> None:
    points = np.full((3, 40, 2), 0.5)
    points[0] = 1
    wins, ties, _ = cells(points, ("a", "b", "c"))
    assert wins.significant
    assert (ties.significant, ties.p, ties.better) == (False, 1.0, None)
    # With one prompt nothing is shown.
    assert not any(cell.significant for cell in cells(points[:, :1], ("a", "b", "c")))


def test_mean_win_rates() -> None:
    points = played()
    questions = [Question(str(n), ("?",)) for n in range(60)]
    over = scores_over("b", cells(points))
    assert list(over) == ["a", "c", "d"]
    metric = measure(mean_win_rate("win_rate", questions, over))
    row = matrix_of(MODELS, cells(points))[1]
    assert metric.value == pytest.approx(np.nanmean(row))
    # The games of a prompt against the others are one observation.
    scores = np.mean(list(over.values()), axis=0)
    assert metric.se == pytest.approx(100 * scores.std(ddof=1) / np.sqrt(60))


def test_mean_win_rates_with_missing_scores_are_means_of_cells() -> None:
    points = played(n=400)
    random = np.random.default_rng(1)
    points[random.random(points.shape[:2]) < 0.3] = np.nan
    questions = [Question(str(n), ("?",)) for n in range(400)]
    over = scores_over("b", cells(points))
    metric = measure(mean_win_rate("win_rate", questions, over))
    assert metric.value == pytest.approx(np.nanmean(matrix_of(MODELS, cells(points))[1]))
    scores = np.array(list(over.values()))
    drawn = []
    for _ in range(400):
        rows = random.integers(0, 400, 400)
        drawn.append(100 * np.nanmean(scores[:, rows], axis=1).mean())
    # The standard deviation of 400 resamples is 3.5 % uncertain.
    assert metric.se == pytest.approx(np.std(drawn, ddof=1), rel=0.12)


def test_strengths_have_the_spread_of_refits() -> None:
    scores = played(n=80).mean(axis=2)
    found = strengths_of(scores, 4, seed=0)
    values = [strength.value for strength in found.strengths]
    assert values == sorted(values, reverse=True)
    random = np.random.default_rng(5)
    refits = []
    for _ in range(300):
        drawn = scores[:, random.integers(0, 80, 80)].sum(axis=1) * 2
        won = np.zeros((1, 4, 4))
        for (i, j), points in zip(itertools.combinations(range(4), 2), drawn, strict=True):
            won[0, i, j], won[0, j, i] = points, 160 - points
        refits.append(strengths(won)[0])
    for strength, spread in zip(found.strengths, np.std(refits, axis=0, ddof=1), strict=True):
        assert strength.se == pytest.approx(spread, rel=0.15)
        assert strength.low < strength.value < strength.high


def test_an_intransitive_matrix_has_a_gap_and_a_cycle() -> None:
    points = np.zeros((3, 100, 2))
    points[:, :80] = 1
    points[1] = 1 - points[1]  # a over b, b over c, c over a
    found = cells(points, ("a", "b", "c"))
    assert cycles_of("abc", [cell.better for cell in found if cell.better]) == [["a", "b", "c"]]
    fitted = strengths_of(points.mean(axis=2), 3, seed=0, resamples=10)
    assert [strength.value for strength in fitted.strengths] == pytest.approx([0, 0, 0])
    assert fitted.largest_gap == pytest.approx(30)


def test_cycles_are_those_of_an_exhaustive_search() -> None:
    random = np.random.default_rng(2)
    for _ in range(20):
        pairs = [pair if random.random() < 0.5 else pair[::-1] for pair in pairs_of("abcde")]
        better = [pair for pair in pairs if random.random() < 0.8]
        wanted = set()
        for size in range(3, 6):
            for path in itertools.permutations("abcde", size):
                around = zip(path, (*path[1:], path[0]), strict=True)
                if path[0] == min(path) and all(step in better for step in around):
                    wanted.add(path)
        found = [tuple(cycle) for cycle in cycles_of("abcde", better)]
        assert len(found) == len(set(found))
        assert set(found) == wanted


def test_the_plot_takes_names_in_any_script(tmp_path: Path) -> None:
    """Warnings are errors here, and a name with dollar signs is no formula."""
    names = ("通义千问", "모델", "a$b$", "plain")
    plot_matrix(names, cells(played(), names), tmp_path / "matrix.png")
    assert (tmp_path / "matrix.png").read_bytes().startswith(b"\x89PNG")
