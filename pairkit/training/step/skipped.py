"""Steps without a finite loss or gradient: they change no weight, and too many in a row end the run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pairkit.errors import TrainingError
from pairkit.progress import warn


@dataclass
class Skipped:
    """How many steps were skipped, a part of every checkpoint: of the whole run, and the last in a row."""

    total: int = 0
    in_a_row: int = 0

    def note(self, step: int, problem: str | None, most: int, out: Path) -> None:
        """Count step `step` (from 1), which is skipped if it has a `problem`, and print that it was.

        Raises `TrainingError` where it is the last of `most` in a row.
        """
        self.in_a_row = self.in_a_row + 1 if problem else 0  # one good step shows that the weights are sound
        if not problem:
            return
        self.total += 1
        # The same on every process, because all have the same sums: all raise, and none waits for another.
        if self.in_a_row >= most:
            raise TrainingError(
                f"{problem} at step {step}; stopping after {most} consecutive skipped steps "
                f"(max_skipped={most}). Lower --learning-rate and rerun with a new --out or "
                f"--on-existing delete; metrics and checkpoints up to here are in {out}"
            )
        count = f"{self.in_a_row} in a row, {most} end the run"
        warn(f"skipped step {step}: {problem} ({count})")

    def state_dict(self) -> dict[str, int]:
        """Return what a checkpoint keeps."""
        return asdict(self)

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Restore the counts of a checkpoint."""
        # The row too, or each resume would give diverged weights the whole number of steps again.
        self.total, self.in_a_row = state["total"], state["in_a_row"]


def not_finite(loss: float, norms: Sequence[float]) -> str | None:
    """Describe the first non-finite number of a step (loss or a process's gradient norm), or return None."""
    numbers = [("loss", loss), *(("gradient norm", norm) for norm in norms)]
    return next((f"{name} is {_spell(value)}" for name, value in numbers if not math.isfinite(value)), None)


def _spell(value: float) -> str:
    return "NaN" if math.isnan(value) else str(value)
