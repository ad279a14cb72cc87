"""A part of a longer training: the steps that one run takes of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Segment:
    """The steps `first` up to `first + steps` of a training of `total` steps.

    Steps keep their numbers in the whole, by which the learning rate is scheduled and random numbers are
    made; the order of the sets begins anew, because each segment has data of its own.

    Attributes:
        first: how many steps were taken before.
        steps: how many this run takes.
        total: steps of the whole training.
        start: the checkpoint, weights and optimizer state, that was written after step `first`; None for the
            first segment.
    """

    first: int
    steps: int
    total: int
    start: Path | None = None
