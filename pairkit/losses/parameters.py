"""Hyper-parameters of a loss: default, range, and the check of a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any

from pairkit.errors import RecipeError, unknown

# A smaller number is a mistake, because float32 cannot represent the result: divided by it, or by its square,
# a number becomes infinite; multiplied by it, 0; and some losses turn these into NaN.
SMALLEST = 1e-18


@dataclass(frozen=True)
class Number:
    """A float in a range; its ends are included unless `open_low` or `open_high` is set."""

    default: float | None
    low: float = -inf
    high: float = inf
    open_low: bool = False
    open_high: bool = False

    def check(self, where: str, value: Any) -> float | None:
        """Return `value` as a float, or raise `RecipeError`; None is allowed where it is the default."""
        if value is None and self.default is None:
            return None
        # A bool is an int in Python, but true is no number in a recipe.
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            raise RecipeError(f"{where} must be a number, got {value!r}")
        below = value <= self.low if self.open_low else value < self.low
        above = value >= self.high if self.open_high else value > self.high
        if below or above:
            raise RecipeError(f"{where} must be in {self.range}, got {value}")
        if 0 < abs(value) < SMALLEST:
            raise RecipeError(
                f"{where} must be 0 or at least {SMALLEST:g} in size, because float32 cannot divide by less, "
                f"got {value}"
            )
        # An integer too (`beta: 1`), so that both spellings resolve to one recipe.
        return float(value)

    @property
    def range(self) -> str:
        left = "(" if self.open_low or self.low == -inf else "["
        right = ")" if self.open_high or self.high == inf else "]"
        return f"{left}{self.low:g}, {self.high:g}{right}"


@dataclass(frozen=True)
class Integer:
    """An integer, at least `low` unless that is None.

    None is allowed where it is the default; `word` is its spelling on the command line.
    """

    default: int | None
    low: int | None = 1
    word: str | None = None

    def check(self, where: str, value: Any) -> int | None:
        """Return `value` as an int, or raise `RecipeError`."""
        # The word, because the command line cannot spell None.
        if self.default is None and value in (None, self.word):
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise RecipeError(f"{where} must be an integer{self._least}, got {value!r}")
        if self.low is not None and value < self.low:
            raise RecipeError(f"{where} must be an integer{self._least}, got {value!r}")
        return value

    @property
    def _least(self) -> str:
        return "" if self.low is None else f" >= {self.low}"

    @property
    def range(self) -> str:
        numbers = "integers" if self.low is None else f"{self.low}, {self.low + 1}, ..."
        return numbers + (f" | {self.word}" if self.word else "")


@dataclass(frozen=True)
class Choice:
    """One of several words."""

    default: str
    options: tuple[str, ...]

    def check(self, where: str, value: Any) -> str:
        """Return `value`, or raise a `RecipeError` that suggests the nearest option."""
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
        """Return `value`, or raise `RecipeError`."""
        if not isinstance(value, bool):
            raise RecipeError(f"{where} must be true or false, got {value!r}")
        return value

    @property
    def range(self) -> str:
        return "true | false"


Parameter = Number | Integer | Choice | Flag


def resolve(owner: str, parameters: Mapping[str, Parameter], values: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in the defaults of `parameters` that `values` does not set, and check every value."""
    # Before any value is checked, because a misspelled keyword leaves another at its default.
    for name in values:
        if name not in parameters:
            raise unknown(f"keyword of {owner}", name, parameters)
    return {
        name: parameter.check(f"{owner}.{name}", values.get(name, parameter.default))
        for name, parameter in parameters.items()
    }


def positive(default: float) -> Number:
    """Build the range of a number above 0."""
    return Number(default, low=0.0, open_low=True)


def not_negative(default: float) -> Number:
    """Build the range of a number of at least 0, such as the weight of a term."""
    return Number(default, low=0.0)


def smoothing(default: float, *, above_zero: bool = False) -> Number:
    """Build the range of a label smoothing: [0, 0.5), or (0, 0.5)."""
    # Open at 0.5, where labels tell nothing and robust_dpo divides by 1 - 2e = 0.
    return Number(default, low=0.0, high=0.5, open_low=above_zero, open_high=True)
