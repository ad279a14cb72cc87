"""The order of the steps: which sets each one takes and where its random numbers start.

All of it is a function of (seed, step) alone. A resumed run therefore needs no sampler state, and a sample of
negatives depends neither on the process that makes it nor on its micro-batch.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pairkit.training.tokens.token_set import TokenSet


@dataclass(frozen=True)
class StepOrder:
    """The stream of training sets: one epoch after another, each a permutation of its own, cut into steps.

    Attributes:
        sets: training sets per epoch.
        seed: of the permutations.
        epochs: length of the stream; `max_steps` comes before it.
        sets_per_step: size of a global batch; the last one of the stream may be smaller.
        max_steps: number of steps, None for as many as the epochs have.
        first: how many steps of a longer training were taken before; the steps of this run are numbered from
            there, its stream begins there.
        total: steps of the longer training, None where this run is all of it.
    """

    sets: int
    seed: int
    epochs: float
    sets_per_step: int
    max_steps: int | None
    first: int = 0
    total: int | None = None

    @property
    def step_count(self) -> int:
        """Steps of this run."""
        return self.max_steps or math.ceil(self._length / self.sets_per_step)

    @property
    def end(self) -> int:
        """Steps taken when this run has ended, those before it included."""
        return self.first + self.step_count

    @property
    def whole(self) -> int:
        """Steps of the whole training, by which the learning rate is scheduled."""
        return self.total or self.end

    def sets_before(self, step: int) -> int:
        """Count the sets of this run's steps before `step` (from `first`); a set counts once per epoch."""
        # Not cut at the end of the epochs where steps are given: the stream then starts another epoch.
        position = (step - self.first) * self.sets_per_step
        return position if self.max_steps else min(position, self._length)

    def step_sets(self, step: int) -> list[int]:
        """List the sets of step `step` (from `first`) by their number in the split."""
        positions = range(self.sets_before(step), self.sets_before(step + 1))
        return [int(_permutation(self.sets, at // self.sets, self.seed)[at % self.sets]) for at in positions]

    def next_epoch(self, step: int) -> int:
        """Return the first step that begins in a later epoch than step `step` does."""
        epoch = (step - self.first) * self.sets_per_step // self.sets
        return self.first + math.ceil((epoch + 1) * self.sets / self.sets_per_step)

    def epoch_ended(self, step: int) -> int | None:
        """Return the number, from 1, of the epoch of this run whose last set step number `step` takes.

        None where it takes the last set of none. Steps are counted from 1, as those that are done.
        """
        if step <= self.first:
            return None
        epoch = self.sets_before(step) // self.sets
        return epoch if epoch > self.sets_before(step - 1) // self.sets else None

    @property
    def _length(self) -> int:
        """Sets of all epochs, at least one."""
        return max(1, round(self.epochs * self.sets))


def draw_seeds(sets: Sequence[TokenSet], seed: int, step: int) -> Tensor:
    """Make the seed of each set's draw, int64 `[B]`: a hash of (run seed, step, set_id)."""
    # By set_id and not by place, so that a draw does not change when other sets are added.
    return torch.tensor([_hash(f"{seed}/{step}/{item.set_id}") for item in sets])


def step_seed(seed: int, step: int) -> int:
    """Make the seed of torch's own random numbers in a step: a user's loss may use them."""
    return _hash(f"{seed}/{step}")


def _hash(text: str) -> int:
    """Hash text to an int64."""
    # Not Python's `hash`, which differs between processes.
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)


@lru_cache(maxsize=2)  # because a step can take the end of one epoch and the beginning of the next
def _permutation(sets: int, epoch: int, seed: int) -> npt.NDArray[np.int64]:
    """Return the order of the sets in an epoch, `[sets]`."""
    return np.random.default_rng([seed, epoch]).permutation(sets)
