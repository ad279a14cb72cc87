"""Cycles among models of which each is better than the next: what no ranking can show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

MOST = 1000  # that are counted


def cycles_of(models: Sequence[str], better: Sequence[tuple[str, str]]) -> list[list[str]]:
    """Return the cycles of (better, worse) pairs, each once, from its first model; the first `MOST` alone.

    >>> cycles_of("abcd", [("a", "b"), ("b", "c"), ("c", "a"), ("a", "d")])
    [['a', 'b', 'c']]
    """
    losers: dict[str, list[str]] = {model: [] for model in models}
    for winner, loser in better:
        losers[winner].append(loser)
    places = {model: place for place, model in enumerate(models)}

    def paths(start: str, path: list[str], home: set[str]) -> Iterator[list[str]]:
        for loser in losers[path[-1]]:
            if loser == start:
                yield path
            # Only models after the first, so that a cycle is found once; only those that lead back to it.
            elif places[loser] > places[start] and loser in home and loser not in path:
                yield from paths(start, [*path, loser], home)

    every = (path for start in models for path in paths(start, [start], _reaching(start, better)))
    return list(islice(every, MOST))


def _reaching(goal: str, better: Sequence[tuple[str, str]]) -> set[str]:
    """Return the models from which wins lead to `goal`."""
    models = {goal}
    while winners := {winner for winner, loser in better if loser in models} - models:
        models |= winners
    return models
