"""Settings to try: axes of values, and the points that they span."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pairkit.errors import RecipeError, quoted
from pairkit.recipes import Strict, parse_overrides
from pairkit.schema import short_hash

SEED = "seed"  # the axis that is averaged over
_LONGEST = 120  # characters of a name, which is that of a directory


class Axis(NamedTuple):
    """The values that a field of a recipe takes, in order."""

    key: str  # as it is typed: optimizer.learning_rate
    path: tuple[str, ...]
    values: tuple[Any, ...]


class Point(NamedTuple):
    """One setting: a value per axis, by the key of the axis."""

    values: Mapping[str, Any]
    fields: Mapping[str, Any]  # the same, nested as in a recipe

    @property
    def name(self) -> str:
        """A name for a directory, another one for every setting.

        >>> Point({"loss.beta": 0.1, "seed": 0}, {}).name
        'loss.beta=0.1,seed=0'
        """
        # With a hash where the text is changed, because two settings must never share a directory.
        text = ",".join(f"{key}={_written(value)}" for key, value in self.values.items())
        plain = re.sub(r"[^\w.=,+-]", "-", text)[:_LONGEST]
        return plain if plain == text else f"{plain}-{short_hash(dict(self.values))[:8]}"

    @property
    def without_seed(self) -> Mapping[str, Any]:
        """The values of all axes but the seed."""
        return {key: value for key, value in self.values.items() if key != SEED}


def axis(key: str, values: Sequence[Any], path: Sequence[str] = ()) -> Axis:
    """Make an axis. Raises `RecipeError` for no value, or one that is there twice.

    >>> axis("loss.beta", [0.1, 0.5]).path
    ('loss', 'beta')
    """
    if not values:
        raise RecipeError(f"{key} has no value to try: write {key}=VALUE,VALUE")
    for position, value in enumerate(values):
        # Also 1 and 1.0, which are one setting.
        if value in values[:position]:
            raise RecipeError(f"{key} has the value {quoted(value)} twice: remove one of them")
    return Axis(key, tuple(path) or tuple(key.split(".")), tuple(values))


def parse_axes(texts: Sequence[str], model: type[Strict]) -> list[Axis]:
    """Parse `KEY=VALUE,VALUE`, in which each value is YAML.

    Raises `RecipeError` for a text of another form, and for a key or a value that is there twice.
    """
    axes: list[Axis] = []
    for text in texts:
        key, equals, values = text.partition("=")
        if not equals:
            raise RecipeError(f"cannot read {quoted(text)}: write KEY=VALUE,VALUE")
        # As one YAML list, so that a value may itself be quoted, a list or a mapping.
        value: Any = parse_overrides([f"{key}=[{values}]"], model)
        path: list[str] = []
        while isinstance(value, dict):
            ((part, value),) = value.items()
            path.append(part)
        if any(tuple(path) == other.path for other in axes):
            raise RecipeError(f"{key} is set twice: write all of its values after one, {key}=VALUE,VALUE")
        axes.append(axis(".".join(path), value, path))
    return axes


def points(axes: Sequence[Axis]) -> list[Point]:
    """Return all combinations, the last axis varying fastest; without axes the recipe itself, once."""
    rows = itertools.product(*(each.values for each in axes))
    return [_point(axes, row) for row in rows]


def _point(axes: Sequence[Axis], row: Sequence[Any]) -> Point:
    fields: dict[str, Any] = {}
    for each, value in zip(axes, row, strict=True):
        *above, last = each.path
        place = fields
        for key in above:
            place = place.setdefault(key, {})
        place[last] = value
    return Point({each.key: value for each, value in zip(axes, row, strict=True)}, fields)


def _written(value: Any) -> str:
    if isinstance(value, Mapping):
        return ",".join(f"{key}={_written(below)}" for key, below in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)
