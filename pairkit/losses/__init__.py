"""Preference losses on one tensor interface: `build("dpo", beta=0.1)(policy, reference).losses`."""

from pairkit.losses.building import build, loss_spec
from pairkit.losses.loss import Loss, WeightedSum
from pairkit.losses.sampling import sample_negatives
from pairkit.losses.spec import LossSpec, Statistics
from pairkit.losses.table import LOSSES
from pairkit.losses.types import Extras, Logps, LossOutput, Term

__all__ = [
    "LOSSES",
    "Extras",
    "Logps",
    "Loss",
    "LossOutput",
    "LossSpec",
    "Statistics",
    "Term",
    "WeightedSum",
    "build",
    "loss_spec",
    "sample_negatives",
]
