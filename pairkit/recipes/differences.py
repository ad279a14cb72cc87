"""Settings by the keys of the command line, and where two records of them differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def flat_keys(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return every value of nested mappings by its key on the command line: `key.sub`."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        name = f"{prefix}{key}"
        # An empty mapping has no keys, so it equals one that is missing.
        flat |= flat_keys(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat


def changed_values(
    before: Mapping[str, Any], now: Mapping[str, Any], free: Callable[[str], bool] = lambda key: False
) -> list[str]:
    """Describe each value that differs, as a message about an output directory names it.

    Keys that are `free` may differ.

    >>> changed_values({"seed": 0, "loss": {"beta": 0.1}}, {"seed": 1, "loss": {"beta": 0.1}})
    ['seed 0 -> 1']
    """
    theirs, ours = flat_keys(before), flat_keys(now)
    # The command's own keys in its order, then those that only another version of pairkit has.
    keys = [key for key in {**ours, **theirs} if theirs.get(key) != ours.get(key) and not free(key)]
    return [f"{key} {theirs.get(key)!r} -> {ours.get(key)!r}" for key in keys]
