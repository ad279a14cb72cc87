"""Moving mean and standard deviation of one number per pair: state in, state out.

The state is {"steps", "mean", "std"}, float64 scalars: the number of batches, and the averages before the
correction for their start at 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pairkit.losses.spec import State
from pairkit.losses.types import Logps

START = {"steps": 0.0, "mean": 0.0, "std": 0.0}
# The bound is that of bfloat16, because log-probs are float32 whatever the model computes in: relative errors
# are at most 2^-8, and about half of that in the root mean square. Errors of single tokens average out over n
# of them as 1 / sqrt(n); the difference of four such means (two completions, policy and reference) is off by
# twice as much.
#
# Measured with equal weights in batches of other shapes, 15 tokens per completion, where the bound is 1e-3 of
# the log-probs: under bfloat16 autocast 1e-6 to 2e-5 for one layer of 12,000 parameters, 3e-5 to 5e-4 for 16
# layers of 13 million; in float32 up to 2e-7. One optimizer step moved the latter by 2e-3 to 2e-2 at a
# learning rate of 1e-5, by 2e-4 to 2e-3 at 1e-6; the former by 1e-3 to 2e-2 at 1e-3.
ROUNDING = 2.0**-8


def rounding(policy: Logps, *, of_means: bool) -> float:
    """Bound the deviation that rounding causes in log-ratio differences (of token means or sums), nats."""
    length = policy.length.clamp(min=1)
    each = ROUNDING * policy.sum.abs() / length.sqrt()
    return float((each / length if of_means else each).mean())


def moved(state: State, values: Tensor, momentum: float, *, noise: float = 0.0) -> State:
    """Update the state with a batch whose pairs have these values ([N]).

    The batch is skipped if it has fewer than two pairs, because they have no standard deviation, or if the
    deviation is below `noise`, because it is then caused by rounding.
    """
    values = values.detach().cpu().double()
    if len(values) < 2 or float(values.std()) < noise:
        return dict(state)
    return {
        **state,
        "steps": state["steps"] + 1.0,
        "mean": momentum * state["mean"] + (1.0 - momentum) * values.mean(),
        "std": momentum * state["std"] + (1.0 - momentum) * values.std(),
    }


def moments(state: State, momentum: float, *, corrected: bool = True) -> tuple[float, float]:
    """Return (mean, unbiased standard deviation); (0, 0) before the first batch.

    Args:
        corrected: whether to divide by 1 - momentum^steps, the total weight of the batches so far.
    """
    weight = 1.0 - momentum ** float(state["steps"]) if corrected else 1.0
    if weight == 0.0:
        return 0.0, 0.0
    return float(state["mean"]) / weight, float(state["std"]) / weight


def standardized(values: Tensor, mean: float, std: float) -> Tensor:
    """Compute (values - mean) / std, elementwise; zeros if `std` is 0, as before the first batch."""
    if not std > 0.0:
        return torch.zeros_like(values)
    return (values - mean) / std
