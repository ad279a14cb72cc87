"""A moving mean and standard deviation of a number that every pair has: state in, state out.

The state is {"steps", "mean", "std"}, float64 scalars: how many batches there were, and the averages as they
are before the correction for their start at 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pairkit.losses.spec import State

START = {"steps": 0.0, "mean": 0.0, "std": 0.0}
# Differences that deviate by a smaller share of the log-probs than this are rounding. Log-probs are float32
# whatever the model computes in, so the bound is one for bfloat16. Of the same weights in batches of other
# shapes the differences of policy and reference, of means as of sums, were found to deviate by 1e-6 to 2e-5
# of the log-probs under bfloat16 autocast, by 1e-8 to 1e-7 in float32; after one optimizer step at a learning
# rate of 1e-4, for a model of 0.1 million parameters, by 1e-4 to 2e-3.
ROUNDING = 2.0**-15


def moved(state: State, values: Tensor, momentum: float, *, noise: float = 0.0) -> State:
    """The state after a batch whose pairs have these values ([N]).

    A batch of fewer than two pairs has no standard deviation, and one below `noise` is of no pair's making:
    such a batch changes nothing.
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
    """(mean, unbiased standard deviation); (0, 0) before any batch.

    Args:
        corrected: divide by 1 - momentum^steps, the weight that the batches have together so far.
    """
    weight = 1.0 - momentum ** float(state["steps"]) if corrected else 1.0
    if weight == 0.0:
        return 0.0, 0.0
    return float(state["mean"]) / weight, float(state["std"]) / weight


def standardized(values: Tensor, mean: float, std: float) -> Tensor:
    """(values - mean) / std; zeros where `std` is 0, as before any batch."""
    if not std > 0.0:
        return torch.zeros_like(values)
    return (values - mean) / std
