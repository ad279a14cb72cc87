"""Which sets and which negatives a step takes: functions of (seed, step) and nothing else.

So a resumed run needs no sampler state, and a draw depends on no rank and no micro-batch.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pairkit.training.tokens import TokenSet


def step_count(sets: int, sets_per_step: int, epochs: float, max_steps: int | None) -> int:
    """`max_steps`, or as many steps as the epochs have; the last one may be smaller than the others."""
    return max_steps or math.ceil(_stream_length(sets, epochs) / sets_per_step)


def step_sets(
    sets: int, step: int, sets_per_step: int, epochs: float, max_steps: int | None, seed: int
) -> list[int]:
    """The sets of step `step` (from 0): every epoch is a permutation of its own, one after another."""
    end = (step + 1) * sets_per_step
    stop = end if max_steps else min(end, _stream_length(sets, epochs))
    positions = range(step * sets_per_step, stop)
    orders = {
        epoch: np.random.default_rng([seed, epoch]).permutation(sets)
        for epoch in {position // sets for position in positions}
    }
    return [int(orders[position // sets][position % sets]) for position in positions]


def draw_seeds(sets: Sequence[TokenSet], seed: int, step: int) -> Tensor:
    """int64 [sets]: the seed of each set's draw, a hash of (run seed, step, set_id)."""
    digests = [
        hashlib.blake2b(f"{seed}/{step}/{item.set_id}".encode(), digest_size=8).digest() for item in sets
    ]
    return torch.tensor([int.from_bytes(digest, "big", signed=True) for digest in digests])


def _stream_length(sets: int, epochs: float) -> int:
    return max(1, round(epochs * sets))
