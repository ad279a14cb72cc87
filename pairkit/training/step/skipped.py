"""Steps without a finite loss or gradient: they change no weight, and too many in a row end the run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pairkit.errors import TrainingError
from pairkit.progress import console


@dataclass
class Skipped:
    """How many steps were skipped, a part of every checkpoint: of the whole run, and the last in a row."""

    total: int = 0
    in_a_row: int = 0

    def note(self, step: int, wrong: str | None, most: int, out: Path) -> None:
        """Counts step `step` (from 1), which is skipped if anything is `wrong`, and says so.

        Raises `TrainingError` where it is the last of `most` in a row.
        """
        self.in_a_row = self.in_a_row + 1 if wrong else 0
        if not wrong:
            return
        self.total += 1
        if self.in_a_row >= most:
            raise TrainingError(
                f"{wrong} at step {step}, and {most} steps in a row are as many as may be skipped "
                "(max_skipped): give a lower --learning-rate, and another --out or --on-existing delete; "
                f"the metrics and checkpoints until then are in {out}"
            )
        count = f"{self.in_a_row} in a row, {most} end the run"
        console.print(f"step {step} is skipped: {wrong} ({count})", markup=False)

    def state_dict(self) -> dict[str, int]:
        """What a checkpoint keeps."""
        return asdict(self)

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Takes the counts of a checkpoint up again."""
        self.total, self.in_a_row = state["total"], state["in_a_row"]


def not_finite(loss: float, norms: Sequence[float]) -> str | None:
    """What of a step is no finite number: its loss, or the gradient norm on a process; None if all are."""
    numbers = [("loss", loss), *(("gradient norm", norm) for norm in norms)]
    return next((f"the {name} is {number}" for name, number in numbers if not math.isfinite(number)), None)
