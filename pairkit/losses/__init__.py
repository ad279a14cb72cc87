"""Preference losses on one tensor interface: a loss takes log-probs of candidate sets and gives one per set.

>>> import torch
>>> from pairkit.losses import Logps, build
>>> loss = build("dpo", beta=0.1)
>>> length, mask = torch.full((1, 2), 10), torch.ones(1, 2, dtype=torch.bool)  # [sets, completions]
>>> policy = Logps(torch.tensor([[-20.0, -25.0]]), length, mask)  # summed log-probs, nats; chosen first
>>> reference = Logps(torch.tensor([[-21.0, -21.0]]), length, mask)
>>> round(loss(policy, reference).losses.item(), 4)  # -log sigmoid(0.1 * ((-20 + 21) - (-25 + 21)))
0.4741
"""

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
