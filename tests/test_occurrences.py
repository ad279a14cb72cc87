"""Counts of prompts: those of a dict, in a part of its memory."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from pairkit.schema import Occurrences


@pytest.mark.parametrize("distinct", [1, 7, 300, 100_000])
def test_counts_are_those_of_a_dict(distinct: int) -> None:
    random = np.random.default_rng(0)
    seen, known = Occurrences(), Counter[str]()
    for size in (0, 1, 2, 1000, 1000, 1, 3000, 10):
        ids = [f"{number:016x}" for number in random.integers(0, distinct, size).tolist()]
        expected = []
        for each in ids:
            expected.append(known[each])
            known[each] += 1
        assert seen.add(ids) == expected


def test_the_smallest_and_the_largest_id() -> None:
    seen = Occurrences()
    ids = ["0" * 16, "f" * 16, "0" * 15 + "1"]
    assert seen.add(ids) == [0, 0, 0]
    assert seen.add(ids[::-1] + ids) == [1, 1, 1, 2, 2, 2]


def test_a_prompt_takes_about_eight_bytes() -> None:
    seen, count = Occurrences(), 200_000
    random = np.random.default_rng(0)
    for start in range(0, count, 1000):
        seen.add([f"{start + row:08x}{int(random.integers(1 << 32)):08x}" for row in range(1000)])
    assert sum(part.nbytes for part in seen._known) == 8 * count
    # Few, or looking for an id would take long.
    assert len(seen._known) <= 20
