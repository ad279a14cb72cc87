"""The value of a metric of one setting alone, and what its seeds show of it."""

from __future__ import annotations

from statistics import fmean, stdev
from typing import Any

import numpy as np

from pairkit.errors import InputError
from pairkit.evaluation.compare.settings import Setting
from pairkit.evaluation.compare.sides import (
    all_prompts,
    common_prompts,
    estimate_side,
    is_estimate,
    mean_side,
)
from pairkit.evaluation.measures import Measured, Metric, measure, standard_error
from pairkit.intervals import bootstrap_ratio_difference, wilson_share


def own_value(setting: Setting, name: str, *, seed: int = 0) -> dict[str, Any]:
    """Return a setting's metric on all its own prompts; of several seeds the mean, with their spread."""
    if len(setting.runs) == 1:
        entry = next(entry for entry in setting.runs[0].results["metrics"] if entry["name"] == name)
        return dict(entry) | {"name": setting.name, "seeds": None}
    metric, values = mean_over_seeds(setting, name, seed=seed)
    return metric._asdict() | {"name": setting.name, "seeds": {"values": values, "sd": stdev(values)}}


def mean_over_seeds(setting: Setting, name: str, *, seed: int = 0) -> tuple[Metric, list[float]]:
    """Return the mean of a metric over the runs of a setting, and the value of each run.

    All of it is of the prompts that every run has a score of; for an estimator that is not a weighted mean,
    of the own prompts of each run. The interval is about prompts, and the spread over seeds is not in it.
    Raises `InputError` if the runs have no scored prompt in common.
    """
    runs = [run.measured[name] for run in setting.runs]
    common = common_prompts(runs)
    if not common:
        raise InputError(f"the runs of {setting.name} have no common prompt with a score of {name}")
    scale, share = runs[0].scale, runs[0].share
    if is_estimate(runs):
        prompts = all_prompts(runs)
        side = estimate_side(runs, prompts)
        # Of the scores only their number counts.
        scores = np.full(len(prompts), side.value)
        measurement = Measured(name, prompts, scores, None, share, side.value, side.influence)
        return measure(measurement), [scale * value for value in side.seeds]
    side = mean_side(runs, common)
    # The bootstrap of one run, of the mean of several; what is taken away is 0.
    low, high = bootstrap_ratio_difference(
        side.sums, [(np.zeros(len(common)), np.ones(len(common)))], seed=seed
    )
    if share and high - low < 1e-12:
        _, low, high = wilson_share(side.value, len(common))
    error = standard_error(side.influence)
    values = [scale * value for value in side.seeds]
    se = None if error is None else scale * error
    metric = Metric(name, fmean(values), scale * low, scale * high, se, len(common), runs[0].unit)
    return metric, values
