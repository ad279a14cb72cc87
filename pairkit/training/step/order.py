"""Which sets and which negatives a step takes, and its random numbers: functions of (seed, step) alone.

So a resumed run needs no sampler state, and a draw depends on no rank and no micro-batch.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pairkit.training.tokens.sets import TokenSet


def step_count(sets: int, sets_per_step: int, epochs: float, max_steps: int | None) -> int:
    """`max_steps`, or as many steps as the epochs have; the last one may be smaller than the others."""
    return max_steps or math.ceil(_stream_length(sets, epochs) / sets_per_step)


def sets_before(sets: int, step: int, sets_per_step: int, epochs: float, max_steps: int | None) -> int:
    """How many sets the steps before `step` take, repeated ones counted again."""
    taken = step * sets_per_step
    return taken if max_steps else min(taken, _stream_length(sets, epochs))


def step_sets(
    sets: int, step: int, sets_per_step: int, epochs: float, max_steps: int | None, seed: int
) -> list[int]:
    """The sets of step `step` (from 0): every epoch is a permutation of its own, one after another."""
    start, stop = (sets_before(sets, s, sets_per_step, epochs, max_steps) for s in (step, step + 1))
    return [int(_order(sets, position // sets, seed)[position % sets]) for position in range(start, stop)]


def draw_seeds(sets: Sequence[TokenSet], seed: int, step: int) -> Tensor:
    """int64 [sets]: the seed of each set's draw, a hash of (run seed, step, set_id)."""
    return torch.tensor([_hash(f"{seed}/{step}/{item.set_id}") for item in sets])


def step_seed(seed: int, step: int) -> int:
    """Where torch's own random numbers start in a step: a loss from outside may use them."""
    return _hash(f"{seed}/{step}")


def _hash(text: str) -> int:
    """An int64."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)


@lru_cache(maxsize=2)  # a step can take the end of one epoch and the beginning of the next
def _order(sets: int, epoch: int, seed: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(sets)


def _stream_length(sets: int, epochs: float) -> int:
    return max(1, round(epochs * sets))
