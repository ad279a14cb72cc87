"""Bootstrap intervals against theory, and accuracy of engines whose accuracy is known."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from support.scripted import Scripted

from pairkit import schema
from pairkit.engines.base import Completion, Problem, Request, Result
from pairkit.errors import InputError
from pairkit.evaluation.accuracy import accuracy
from pairkit.intervals import Interval, bootstrap_difference, bootstrap_mean
from pairkit.rankers.verifier import VerifierRecipe
from pairkit.sources import arithmetic


def test_the_interval_of_a_mean_is_that_of_the_normal_law() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 2000)
    found = bootstrap_mean(values)
    error = values.std() / np.sqrt(len(values))
    assert found.mean == values.mean()
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)
    narrow = bootstrap_mean(values, level=0.5)
    assert narrow.high - narrow.low == pytest.approx(2 * 0.674 * error, rel=0.05)


def test_small_cases_by_hand() -> None:
    # Of two values both resamples are equally likely to be (0,0), (0,1), (1,0), (1,1).
    assert bootstrap_mean([0, 1], level=0.4) == Interval(0.5, 0.5, 0.5)
    assert bootstrap_mean([0, 1], level=0.6) == Interval(0.5, 0.0, 1.0)
    assert bootstrap_mean([0.25] * 7) == Interval(0.25, 0.25, 0.25)


def test_coverage() -> None:
    random = np.random.default_rng(1)
    hits = [
        found.low <= 0.3 <= found.high
        for found in (bootstrap_mean(random.random(200) < 0.3, resamples=500, seed=i) for i in range(400))
    ]
    assert 0.91 < np.mean(hits) < 0.98


def test_groups_widen_the_interval() -> None:
    values = np.random.default_rng(2).random(300)
    twice = np.repeat(values, 2)
    names = [f"g{i // 2}" for i in range(600)]
    alone, grouped, ignored = (
        bootstrap_mean(values),
        bootstrap_mean(twice, groups=names),
        bootstrap_mean(twice),
    )
    assert grouped == pytest.approx(alone)
    width = grouped.high - grouped.low
    assert ignored.high - ignored.low == pytest.approx(width / np.sqrt(2), rel=0.05)


def test_groups_of_unlike_size_weigh_by_size() -> None:
    found = bootstrap_mean([1, 1, 1, 0], groups=["a", "a", "a", "b"], level=0.4)
    assert found == Interval(0.75, 0.75, 0.75)  # half of all resamples hold each group once


def test_a_paired_difference_is_sharper_than_two_intervals() -> None:
    random = np.random.default_rng(3)
    hard = random.random(400)
    first, second = (hard < 0.6).astype(float), (hard < 0.52).astype(float)
    paired = bootstrap_difference(first, second)
    assert paired.mean == pytest.approx(first.mean() - second.mean())
    assert not paired.includes_zero
    shuffled = bootstrap_difference(first, random.permutation(second))
    assert paired.high - paired.low < 0.6 * (shuffled.high - shuffled.low)
    assert bootstrap_difference(first, first) == Interval(0, 0, 0)
    assert bootstrap_difference(first, first).includes_zero


@given(arrays(np.float64, st.integers(1, 40), elements=st.floats(-1e3, 1e3)), st.integers(0, 5))
def test_an_interval_stays_within_the_values(values: np.ndarray, seed: int) -> None:
    found = bootstrap_mean(values, resamples=50, seed=seed)
    assert values.min() - 1e-9 <= found.low <= found.high <= values.max() + 1e-9
    assert found == bootstrap_mean(values, resamples=50, seed=seed)


def test_memory_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(4).random(50)
    whole = bootstrap_mean(values, resamples=999)
    monkeypatch.setattr("pairkit.intervals._CHUNK", 500)
    assert bootstrap_mean(values, resamples=999) == whole


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [[1.0], [2.0]]])
def test_what_has_no_mean_is_refused(values: object) -> None:
    with pytest.raises(InputError, match="finite numbers"):
        bootstrap_mean(values)


def test_unlike_lengths_are_refused() -> None:
    with pytest.raises(InputError, match="same problems"):
        bootstrap_difference([1.0], [1.0, 2.0])
    with pytest.raises(InputError, match="2 values and 1 groups"):
        bootstrap_mean([1.0, 2.0], groups=["a"])


def pupil(request: Request) -> Result:
    """Right on every problem whose first number is even, with its first sample only."""
    a, b = map(int, request.prompt[0]["content"].removesuffix("=").split("+"))
    right = str(a + b)[::-1] if a % 2 == 0 else "x"
    return tuple(Completion("x" if i else right, 1, "stop", s) for i, s in enumerate(request.samplings))


@pytest.fixture
def problems() -> pa.Table:
    return schema.identify(arithmetic.sets("tuning").slice(0, 50), {})


def test_accuracy(problems: pa.Table) -> None:
    found = accuracy(problems, Scripted(pupil), VerifierRecipe(), samples=4, max_tokens=5, seed=0)
    texts = [prompt[0]["content"] for prompt in problems["prompt"].to_pylist()]
    assert found.values.tolist() == [0.25 * (int(text.split("+")[0]) % 2 == 0) for text in texts]
    assert found.sets["set_id"] == problems["set_id"]


def test_accuracy_of_what_cannot_be_asked_is_an_error(problems: pa.Table) -> None:
    first = problems["prompt"][0].as_py()

    def absent(request: Request) -> Result:
        return Problem("too_long", "no room") if request.prompt == first else pupil(request)

    with pytest.raises(InputError, match=r"1 of 50 problems .* too_long: no room"):
        accuracy(problems, Scripted(absent), VerifierRecipe(), max_tokens=5, seed=0)
    with pytest.raises(InputError, match=r"50 of 50 problems .* no_answer"):
        accuracy(problems, Scripted(pupil), VerifierRecipe(answer="x"), max_tokens=5, seed=0)
