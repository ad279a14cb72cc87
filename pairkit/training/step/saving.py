"""After which steps a run saves a checkpoint, and which one stays besides the last ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

Metric = Literal["loss", "reward_accuracy", "reward_margin", "chosen_logp", "chosen_logp_per_token"]
Interval = int | Literal["epoch"] | None  # steps, at least 1; or once per epoch
LOWER = frozenset({"loss"})  # is better; of all others higher is

SHORTEST = 10  # steps between checkpoints by default, because a shorter run is soon done again
PARTS = 10  # of a run, after each of which it saves by default


def interval_of(key: str, value: Any) -> Any:
    """Return the value of a recipe's key as an `Interval`, also where it is a text. Raises `ValueError`."""
    if value is None or value == "epoch":
        return value
    number = str(value).strip()
    if isinstance(value, bool) or not number.isdecimal() or int(number) < 1:
        raise ValueError(f"{key} must be a number of steps, at least 1, or epoch, got {value!r}")
    return int(number)


def save_interval(save_every: Interval, steps: int) -> int:
    """Return the number of steps between checkpoints; by default a tenth of the run, at least ten.

    In steps and not in minutes, because then two runs of one recipe have the same checkpoints. With "epoch",
    too: an epoch may be a long time to lose.
    """
    return save_every if isinstance(save_every, int) else max(SHORTEST, math.ceil(steps / PARTS))


def best_step(evaluations: Iterable[Mapping[str, Any]], metric: Metric, first: int = 0) -> int | None:
    """Return the step after which the metric was best, the first of equal ones; None without any.

    The evaluation before the first step (after step `first`) does not count: its model is not a result of the
    run.
    """
    values = [
        (line[metric] if metric in LOWER else -line[metric], line["step"])
        for line in evaluations
        if line["step"] > first and line.get(metric) is not None
    ]
    return min(values)[1] if values else None
