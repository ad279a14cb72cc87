"""Preference losses on one tensor interface: `build("dpo", beta=0.1)(policy, reference).losses`."""

from pairkit.losses.sampling import sample_negatives
from pairkit.losses.table import LOSSES, Loss, LossSpec, build
from pairkit.losses.types import Extras, Logps, LossOutput, Term

__all__ = [
    "LOSSES",
    "Extras",
    "Logps",
    "Loss",
    "LossOutput",
    "LossSpec",
    "Term",
    "build",
    "sample_negatives",
]
