"""Random numbers that are a function of what they are for."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pairkit.mining.draws import below, draw, keys, stream, uniform


def test_the_numbers_are_those_of_the_first_release():
    """Datasets are made again from their recipes: a change here changes every seeded dataset."""
    assert keys(0, "rejected", ["0123456789abcdef", "é"]).tolist() == [
        0x1BA87A15B9F56E00,
        0xD7A699694B3F758C,
    ]
    assert draw(np.array([0], np.uint64), np.arange(3)).tolist() == [
        # The first outputs of splitmix64 from state 0, as its reference implementation prints them.
        0xE220A8397B1DCDAF,
        0x6E789E6AA1B965F4,
        0x06C45D188009454F,
    ]


@given(st.integers(0, 2**64 - 1))
def test_a_stream_gives_the_numbers_of_the_counters(key: int):
    numbers = stream(key)
    assert [next(numbers) for _ in range(5)] == draw(np.array([key], np.uint64), np.arange(5)).tolist()


def test_a_key_depends_on_seed_purpose_and_set_and_on_nothing_else():
    ids = ["a", "b", "c"]
    assert keys(1, "x", ids).tolist() == [keys(1, "x", [one])[0] for one in ids]
    others = np.concatenate([keys(1, "x", ids), keys(2, "x", ids), keys(1, "y", ids), keys(11, "x", ids)])
    assert len(set(others.tolist())) == 12
    assert len(keys(0, "x", [])) == 0


def test_the_numbers_are_spread_evenly():
    words = draw(keys(0, "x", map(str, range(40_000))))
    shares = np.histogram(uniform(words), bins=10, range=(0, 1))[0] / len(words)
    assert np.abs(shares - 0.1).max() < 0.006  # four standard deviations
    assert set(below(words, np.full(len(words), 3)).tolist()) == {0, 1, 2}
    assert below(words, np.ones(len(words), np.int64)).max() == 0
    assert uniform(np.array([0, 2**64 - 1], np.uint64)).tolist() == [0.0, 1 - 2.0**-53]
