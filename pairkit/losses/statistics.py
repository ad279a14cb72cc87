"""A moving mean and standard deviation of a number that every pair has: state in, state out.

The state is {"steps", "mean", "std"}, float64 scalars: how many batches there were, and the averages as they
are before the correction for their start at 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pairkit.losses.spec import State

START = {"steps": 0.0, "mean": 0.0, "std": 0.0}
SMALLEST = 1e-6  # a standard deviation of no more is rounding noise


def moved(state: State, values: Tensor, momentum: float) -> State:
    """The state after a batch whose pairs have these values ([N]).

    A batch of fewer than two pairs has no standard deviation; it changes nothing.
    """
    if len(values) < 2:
        return dict(state)
    values = values.detach().cpu().double()
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


def standardized(values: Tensor, mean: float, std: float, *, smallest: float = SMALLEST) -> Tensor:
    """(values - mean) / std; zeros where `std` is not above `smallest`."""
    if not std > smallest:
        return torch.zeros_like(values)
    return (values - mean) / std
