"""Numbers of the arms of one seed, above 0 where a claim holds.

A design names them with their arguments, before any run, and its hash holds their code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from pairkit.replication.measured import START, Seed
from pairkit.replication.quantities import Quantity, malformed


def difference(
    seed: Seed, *, first: str, second: str, of: Quantity, plus: float = 0.0, scale: float = 1.0
) -> float:
    """Return `scale` times (first minus second), `plus` a number."""
    return scale * (of(seed.at(first)) - of(seed.at(second))) + plus


def level(seed: Seed, *, arm: str, of: Quantity, above: float = 0.0, sign: float = 1.0) -> float:
    """Return how far an arm is above a number; below it with `sign=-1`."""
    return sign * (of(seed.at(arm)) - above)


def inside(seed: Seed, *, arm: str, of: Quantity, low: float, high: float) -> float:
    """Return how far an arm is inside of a band, below 0 outside."""
    value = of(seed.at(arm))
    return min(value - low, high - value)


def near(seed: Seed, *, arm: str, of: Quantity, target: float, share: float) -> float:
    """Return by how much an arm is nearer to a target than a share of it."""
    return share - abs(of(seed.at(arm)) / target - 1)


def growth(seed: Seed, *, arm: str, of: Quantity, since: int) -> float:
    """Return the change of an arm to its last step, from the one at the place `since` of its marks."""
    step = sorted(seed.arms[arm])[since]
    return of(seed.at(arm)) - of(seed.at(arm, step))


def settled(seed: Seed, *, arm: str, of: Quantity, since: int, within: float) -> float:
    """Return by how much less than a number an arm changes after the place `since` of its marks."""
    return within - abs(growth(seed, arm=arm, of=of, since=since))


def kept(seed: Seed, *, arm: str, of: Quantity, loss: float) -> float:
    """Return the last value of an arm minus its best one after any step, plus the loss that is tolerated."""
    values = [of(model) for step, model in sorted(seed.arms[arm].items()) if step > 0]
    return values[-1] - max(values) + loss


def steadier(seed: Seed, *, first: str, second: str, of: Quantity) -> float:
    """Return by how much less the first arm has changed since the start, as the size of a log."""
    start = of(seed.at(START))
    # As logs, so that half as much and twice as much are changes of one size.
    changes = {arm: abs(math.log(of(seed.at(arm)) / start)) for arm in (first, second)}
    return changes[second] - changes[first]


def slope(seed: Seed, *, arms: Mapping[str, float], of: Quantity) -> float:
    """Return the least-squares slope of a quantity over the numbers of some arms."""
    values = [of(seed.at(arm)) for arm in arms]
    return float(np.polyfit(list(arms.values()), values, 1)[0])


def interaction(seed: Seed, *, more: str, less: str, other_more: str, other_less: str, of: Quantity) -> float:
    """Return the gain from `less` to `more`, minus that of two other arms."""
    gain = of(seed.at(more)) - of(seed.at(less))
    return gain - (of(seed.at(other_more)) - of(seed.at(other_less)))


def bears_more(
    seed: Seed, *, first: Mapping[str, float], second: Mapping[str, float], malformed_below: float
) -> float:
    """Return the log of how many times the rate of the second method the first one bears.

    A method bears the largest of its rates with fewer malformed answers than a share; with none of them it
    counts as bearing a third of the smallest.

    Args:
        first, second: the rate of each arm of a method.
    """

    def borne(arms: Mapping[str, float]) -> float:
        rates = [rate for arm, rate in arms.items() if malformed(seed.at(arm)) < malformed_below]
        return max(rates, default=min(arms.values()) / 3)

    # A log, whose mean over seeds does not depend on which method is the numerator.
    return math.log(borne(first) / borne(second))
