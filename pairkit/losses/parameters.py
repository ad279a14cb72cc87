"""Hyper-parameters of a loss: default, range, and how a value outside it is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any

from pairkit.errors import RecipeError, unknown

# A number of a smaller size is no hyper-parameter but a mistake: in float32 what is divided by it, or by its
# square, is infinite, and what is multiplied by it 0, of which some losses make NaN.
NEAREST_TO_ZERO = 1e-18


@dataclass(frozen=True)
class Number:
    """A float in a range whose ends are closed unless `open_low` / `open_high` say otherwise."""

    default: float | None
    low: float = -inf
    high: float = inf
    open_low: bool = False
    open_high: bool = False

    def check(self, where: str, value: Any) -> float | None:
        """`value` as a float, or a `RecipeError`; None is allowed where it is the default."""
        if value is None and self.default is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            raise RecipeError(f"{where} is a number, got {value!r}")
        below = value <= self.low if self.open_low else value < self.low
        above = value >= self.high if self.open_high else value > self.high
        if below or above:
            raise RecipeError(f"{where} is in {self.range}, got {value}")
        if 0 < abs(value) < NEAREST_TO_ZERO:
            raise RecipeError(
                f"{where} is too near to 0 for float32: 0, or {NEAREST_TO_ZERO:g} and more in size, "
                f"got {value}"
            )
        return float(value)

    @property
    def range(self) -> str:
        left = "(" if self.open_low or self.low == -inf else "["
        right = ")" if self.open_high or self.high == inf else "]"
        return f"{left}{self.low:g}, {self.high:g}{right}"


@dataclass(frozen=True)
class Integer:
    """A whole number, of at least `low` if there is one.

    None is allowed where it is the default, and `word` then means it.
    """

    default: int | None
    low: int | None = 1
    word: str | None = None

    def check(self, where: str, value: Any) -> int | None:
        """`value` as an int, or a `RecipeError`."""
        if self.default is None and value in (None, self.word):
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise RecipeError(f"{where} is a whole number{self._least}, got {value!r}")
        if self.low is not None and value < self.low:
            raise RecipeError(f"{where} is a whole number{self._least}, got {value!r}")
        return value

    @property
    def _least(self) -> str:
        return "" if self.low is None else f" of at least {self.low}"

    @property
    def range(self) -> str:
        numbers = "whole numbers" if self.low is None else f"{self.low}, {self.low + 1}, ..."
        return numbers + (f" | {self.word}" if self.word else "")


@dataclass(frozen=True)
class Choice:
    """One of some words."""

    default: str
    options: tuple[str, ...]

    def check(self, where: str, value: Any) -> str:
        """`value`, or a `RecipeError` that names the nearest option."""
        if value not in self.options:
            raise unknown(f"value of {where}", str(value), self.options)
        return str(value)

    @property
    def range(self) -> str:
        return " | ".join(self.options)


@dataclass(frozen=True)
class Flag:
    """True or false."""

    default: bool

    def check(self, where: str, value: Any) -> bool:
        """`value`, or a `RecipeError`."""
        if not isinstance(value, bool):
            raise RecipeError(f"{where} is true or false, got {value!r}")
        return value

    @property
    def range(self) -> str:
        return "true | false"


Parameter = Number | Integer | Choice | Flag


def resolve(owner: str, parameters: Mapping[str, Parameter], given: Mapping[str, Any]) -> dict[str, Any]:
    """All of `parameters` with the values `given`, the rest at their defaults, every one checked."""
    for name in given:
        if name not in parameters:
            raise unknown(f"keyword of {owner}", name, parameters)
    return {
        name: parameter.check(f"{owner}.{name}", given.get(name, parameter.default))
        for name, parameter in parameters.items()
    }


def positive(default: float) -> Number:
    """A number above 0."""
    return Number(default, low=0.0, open_low=True)


def not_negative(default: float) -> Number:
    """A number of at least 0: the weight of a term."""
    return Number(default, low=0.0)


def smoothing(default: float, *, above_zero: bool = False) -> Number:
    """A label smoothing: in [0, 0.5), or (0, 0.5)."""
    return Number(default, low=0.0, high=0.5, open_low=above_zero, open_high=True)
