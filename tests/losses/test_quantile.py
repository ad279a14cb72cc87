"""The negatives of `sampling="quantile"` and those of `mine.rejected: quantile` are the same."""

from __future__ import annotations

import torch

from pairkit.losses import Logps, sample_negatives


def test_the_quantile_is_that_of_pairs() -> None:
    """The column that `views.pairs` rejects: sets of 2, 44, 45 and 101 completions in one batch."""
    mask = torch.arange(101) < torch.tensor([[2], [44], [45], [101]])
    policy = Logps(torch.zeros(4, 101), mask.long(), mask)
    seeds = torch.zeros(4, dtype=torch.int64)
    taken = sample_negatives(policy, None, beta=1.0, sampling="quantile", negatives=2, seeds=seeds)
    assert taken[:, 0].tolist() == [1, 43, 43, 98]
    assert taken[:, 1].tolist() == [-1, 42, 42, 97]
