"""Batches of sequences by length."""

from __future__ import annotations

from pairkit.models.inference import batches_by_length


def test_batches_stay_within_the_token_budget() -> None:
    lengths = [3, 9, 1, 9, 4, 20]
    found = list(batches_by_length(lengths, 18))
    assert found == [[5], [1, 3], [4, 0, 2]]
    assert list(batches_by_length([], 18)) == []
