"""Exhaustive grids of cases, of which the default run has some."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import product
from typing import Any

import pytest


def grid(default: Callable[..., bool], *axes: Iterable[Any]) -> list[Any]:
    """Return the product of the axes as parameters; cases that are not `default` get the mark `full`."""
    return [pytest.param(*case, marks=[] if default(*case) else pytest.mark.full) for case in product(*axes)]


def some(default: Callable[[Any], bool], cases: Iterable[Any]) -> list[Any]:
    """Return the cases as parameters; those that are not `default` get the mark `full`."""
    return [pytest.param(case, marks=[] if default(case) else pytest.mark.full) for case in cases]
