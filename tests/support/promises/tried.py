"""What the rows of the promises are made of."""

from __future__ import annotations

from typing import NamedTuple


class Tried(NamedTuple):
    """A test, and how many attacks it tries where its source does not tell."""

    test: str
    attacks: int
    how: str


Tests = tuple[str | Tried, ...]
Sections = dict[str, tuple[tuple[str, Tests], ...]]
COLLECTED = "parameters, as pytest collects them"
TABLES = "parameters that are a table of the package, times the places and locks in the test"
FUZZED = "random cases run by hand so far; `pytest -m slow tests/fuzz` tries 10,000 of each"
SOAKED = "misbehaving answers of 106 kinds, in an hour with 64 requests in flight; `slow` has two minutes"
