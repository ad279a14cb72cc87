"""A part of a longer training: the steps that one run takes of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Segment:
    """The steps `first` up to `first + steps` of a training of `total` steps.

    Steps keep their numbers in the whole, by which the learning rate is scheduled and random numbers are
    made; the order of the sets begins again, because each segment has data of its own.

    Attributes:
        first: how many steps were taken before.
        steps: how many this run takes.
        total: steps of the whole training.
        start: the checkpoint, weights and optimizer state, that was written after step `first`; None for the
            first segment.
        training: what W&B and trackio call the whole training; None for the name of the run's directory.

    Raises:
        ValueError: steps beyond `total`, or a first segment with a checkpoint, or another one without.
    """

    first: int
    steps: int
    total: int
    start: Path | None = None
    training: str | None = None

    def __post_init__(self) -> None:
        if not (0 <= self.first < self.first + self.steps <= self.total):
            raise ValueError(f"steps {self.first} to {self.end} are not a part of {self.total} steps")
        if (self.first > 0) != (self.start is not None):
            raise ValueError(f"a segment after step {self.first} cannot start from {self.start}")

    @property
    def end(self) -> int:
        """Steps taken when the segment has ended."""
        return self.first + self.steps

    @property
    def name(self) -> str:
        """What a person calls it."""
        return f"steps {self.first + 1} to {self.end} of {self.total}"
