"""Style control: the score that a model would have if its answers had the reference's style.

    P(model wins a battle) = sigmoid(kappa (c_model - c_reference) + b . z)
    score = sigmoid(kappa (c_model - c_reference))

where z are the standardized differences of style between the two answers. The public code subtracts their
means over the battles of whatever models there are (`pool`): its score is one at the pool's average style.
`equal` subtracts nothing, so that z = 0 is equal style, and the score is a property of the model alone.

Both versions of Arena-Hard are here to the optimum, where the public v2.0 code stops early and cuts the wrong
columns for the controls of length or markdown alone.

Shapes: g games, K models, f features, n prompts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from pairkit.evaluation.arena_hard.fit import NoMaximumError, curvature, fit, fits
from pairkit.evaluation.arena_hard.labels import Version
from pairkit.evaluation.arena_hard.style import FEATURES
from pairkit.intervals import Floats
from pairkit.rankers.judge.bradley_terry import sigmoid

StyleControl = Literal["equal", "pool"]
RESAMPLES = 1000
# Of the public code, which resamples battles.
PUBLIC_RESAMPLES = 100
_CHUNK = 100
# Relative to the largest: a curvature that is none, and a difference that is one.
_RANK, _SAME = 1e-10, 1e-6
Ints = npt.NDArray[np.int64]


class Estimator(NamedTuple):
    """What the two versions of the public code do differently."""

    kappa: float
    ridge: float  # 1: scikit-learn's default
    times: float  # each battle counts
    ddof: int  # of the standard deviation
    density: bool  # of markdown per token, and the length without + 1


ESTIMATORS: dict[Version, Estimator] = {
    "0.1": Estimator(math.log(10), 1.0, 2.0, 0, density=False),
    "2.0": Estimator(1.0, 0.0, 1.0, 1, density=True),
}


class Battles(NamedTuple):
    """The games of K models against one reference, a strong verdict with a weight of 3.

    Attributes:
        model: number of the model, `[g]`.
        prompt: number of the prompt, `[g]`.
        points: of the model, 1, 1/2 or 0, `[g]`.
        weight: battles that the game counts, `[g]`.
        own: features of the model's answer, `[g, 4]`; lengths may be NaN.
        base: features of the reference's answer, `[g, 4]`.
    """

    model: Ints
    prompt: Ints
    points: Floats
    weight: Floats
    own: Floats
    base: Floats


class Controlled(NamedTuple):
    """A score at controlled style, between 0 and 1, of the first model.

    Attributes:
        coefficients: feature -> weight, per standard deviation.
        constant: features left out, because they are the same in all battles.
        influence: of each prompt on the score, `[n]`; the root of the sum of squares is its error.
        interval: 95 %, whole prompts resampled.
    """

    value: float
    coefficients: dict[str, float]
    constant: tuple[str, ...]
    influence: Floats
    interval: tuple[float, float]


class Public(NamedTuple):
    """A score by the convention of the public code, with its interval: battles are resampled 100 times."""

    value: float
    low: float
    high: float


def differences(own: Floats, base: Floats, version: Version) -> Floats:
    """Return z before it is standardized, `[g, 4]`, from features `[g, 4]` of both sides."""
    if not ESTIMATORS[version].density:
        return (own - base) / (own + base + 1)
    total = own[:, 0] + base[:, 0]
    # Two empty answers are equally long.
    length = np.divide(own[:, 0] - base[:, 0], total, out=np.zeros(len(own)), where=total != 0)
    dense, dense_base = (side[:, 1:] / (side[:, :1] + 1) for side in (own, base))
    return np.column_stack([length, (dense - dense_base) / (dense + dense_base + 1)])


def standardized(
    z: Floats, weight: Floats, version: Version, style: StyleControl
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return z `[g, f]` divided by its standard deviation over battles, and which columns vary, `[f]`.

    Columns that do not vary are left out of the first. With `pool` the means are subtracted.
    """
    count = weight.sum()
    mean = (weight[:, None] * z).sum(axis=0) / count
    variance = (weight[:, None] * (z - mean) ** 2).sum(axis=0) / max(count - ESTIMATORS[version].ddof, 1)
    # Rounding leaves a variance where all values are equal.
    varies = (z != z[:1]).any(axis=0)
    center = mean if style == "pool" else np.zeros_like(mean)
    return ((z - center) / np.sqrt(np.where(varies, variance, 1.0)))[:, varies], varies


def controlled(
    battles: Battles,
    columns: Sequence[int],
    version: Version,
    style: StyleControl,
    *,
    prompts: int,
    seed: int = 0,
) -> Controlled:
    """Estimate the score of the first model with the features in `columns` controlled.

    The standard deviations (and means) are those of all battles in every resample.

    Args:
        battles: at least one game; features in `columns` known.
        prompts: n, the number of prompts.

    Raises `NoMaximumError` if style and model separate wins from losses, or cannot be told apart.
    """
    model = _fitted(battles, columns, version, style)
    scores = model.scores(_by_prompt(battles, np.random.default_rng(seed)))
    low, high = np.quantile(scores, [0.025, 0.975])
    features = [FEATURES[column] for column in columns]
    varying_features = [name for name, there in zip(features, model.varies, strict=True) if there]
    # The columns of style are the last ones of the design.
    weights = model.theta[len(model.theta) - len(varying_features) :].tolist()
    return Controlled(
        model.value,
        dict(zip(varying_features, weights, strict=True)),
        tuple(name for name in features if name not in varying_features),
        _influence(model, prompts),
        (float(low), float(high)),
    )


def published_control(battles: Battles, columns: Sequence[int], version: Version, *, seed: int = 0) -> Public:
    """Return the score that the public code gives: v0.1 the estimate and 95 %, v2.0 the median and 90 %.

    Raises `NoMaximumError` if style and model separate wins from losses, or cannot be told apart.
    """
    model = _fitted(battles, columns, version, "pool")
    scores = model.scores(_by_battle(battles, np.random.default_rng(seed)))
    if version == "0.1":
        low, high = np.quantile(scores, [0.025, 0.975])
        return Public(model.value, float(low), float(high))
    low, middle, high = np.quantile(scores, [0.05, 0.5, 0.95])
    return Public(float(middle), float(low), float(high))


class _Fitted(NamedTuple):
    """A model fitted to battles; `varies` are the features in it, `[f]`."""

    battles: Battles
    estimator: Estimator
    design: Floats  # [g, k]
    weight: Floats  # [g]
    theta: Floats  # [k]
    contrast: Floats  # [k], what theta is multiplied with for the log-odds of the first model's score
    direction: Floats  # [k], the inverse curvature times contrast
    varies: npt.NDArray[np.bool_]

    @property
    def value(self) -> float:
        return float(sigmoid(self.contrast @ self.theta))

    def scores(self, resamples: Iterable[Floats]) -> Floats:
        """Return the scores in resamples, each given as how often games count, `[R, g]`."""
        thetas = [
            fits(self.design, self.battles.points, times * self.weight, self.estimator.ridge, self.theta)
            for times in resamples
        ]
        return sigmoid(np.concatenate(thetas) @ self.contrast)


def _fitted(battles: Battles, columns: Sequence[int], version: Version, style: StyleControl) -> _Fitted:
    estimator = ESTIMATORS[version]
    z = differences(battles.own, battles.base, version)[:, list(columns)]
    z, varies = standardized(z, battles.weight, version, style)
    design = np.column_stack([_models(battles, estimator), z])
    weight = estimator.times * battles.weight
    theta = fit(design, battles.points, weight, estimator.ridge)
    contrast = _contrast(battles, estimator, len(theta))
    hessian = curvature(design, theta, weight, estimator.ridge)
    # Least squares, because features may be the same up to a factor, which leaves the score as it is.
    direction = np.linalg.lstsq(hessian, contrast, rcond=_RANK)[0].astype(np.float64)
    if np.abs(hessian @ direction - contrast).max() > _SAME * np.abs(contrast).max():
        raise NoMaximumError
    return _Fitted(battles, estimator, design, weight, theta, contrast, direction, varies)


def _models(battles: Battles, estimator: Estimator) -> Floats:
    """Return the columns of the models and, where the ridge makes it unique, of the reference."""
    columns = np.eye(int(battles.model.max()) + 1)[battles.model]  # [g, K]
    if estimator.ridge:
        columns = np.column_stack([columns, -np.ones(len(columns))])
    return estimator.kappa * columns


def _contrast(battles: Battles, estimator: Estimator, k: int) -> Floats:
    """Return what gives the log-odds of the first model's score when multiplied with theta, `[k]`."""
    contrast = np.zeros(k)
    contrast[0] = estimator.kappa
    if estimator.ridge:
        contrast[int(battles.model.max()) + 1] = -estimator.kappa
    return contrast


def _by_prompt(battles: Battles, random: np.random.Generator) -> Iterator[Floats]:
    """Yield how often each game counts in resamples of whole prompts that were judged, `[R, g]` each."""
    # Prompts without a game would make the number of judged ones vary, and the interval too wide.
    prompts, place = np.unique(battles.prompt, return_inverse=True)
    for _ in range(0, RESAMPLES, _CHUNK):
        counts = random.multinomial(len(prompts), np.full(len(prompts), 1 / len(prompts)), size=_CHUNK)
        yield counts[:, place].astype(np.float64)


def _by_battle(battles: Battles, random: np.random.Generator) -> Iterator[Floats]:
    """Yield how often each game counts relative to its weight in resamples of battles, `[R, g]`."""
    total = battles.weight.sum()
    yield random.multinomial(round(total), battles.weight / total, size=PUBLIC_RESAMPLES) / battles.weight


def _influence(model: _Fitted, prompts: int) -> Floats:
    """Return the influence of each prompt on the score, `[n]`: the derivative of the estimate."""
    battles = model.battles
    residual = battles.points - sigmoid(model.design @ model.theta)
    slope = model.value * (1 - model.value)
    # [g], summed by prompt: its games are not independent.
    of_game = slope * model.weight * residual * (model.design @ model.direction)
    influence = np.bincount(battles.prompt, weights=of_game, minlength=prompts).astype(np.float64)
    # As in `weighted_mean`, which this is without style.
    prompt_count = len(np.unique(battles.prompt))
    return (
        influence * math.sqrt(prompt_count / (prompt_count - 1))
        if prompt_count > 1
        else np.full(prompts, np.nan)
    )
