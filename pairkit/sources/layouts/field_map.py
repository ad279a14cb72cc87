"""The `map` of a recipe: which fields it may have, and what their values mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pairkit.errors import RecipeError, unknown
from pairkit.schema import ROLES
from pairkit.sources.layouts.layout import SHAPES
from pairkit.sources.layouts.paths import steps
from pairkit.sources.layouts.winners import check_winners

FIELDS = tuple(dict.fromkeys(name for shape in SHAPES.values() for part in shape for name in part))
OPTIONS = ("roles", "rank_by_order", "winners")  # of `map`: no columns
JOINED = ("prompt", "system", "completion")  # several texts with a blank line between them
COLLECTED = ("completions", "scores", "ranks", "models", "reasonings", "flags")  # several columns as one list
VOTES = ("winner",)  # several columns of which each names a winner
AVERAGED = ("score", "ratings")  # several columns of numbers


def is_constant(value: str) -> bool:
    """Return whether the value of a map is a text in quotes and no path."""
    return len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"


def columns_of(value: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return the paths that the value of a field joins; none for a constant."""
    if is_constant(value):
        return ()
    return (value,) if value in names else tuple(value.split("+"))


def check_map(mapped: Mapping[str, Any]) -> None:
    """Raise `RecipeError` for an unknown field, an option of another kind, or a broken path."""
    for field in mapped:
        if field not in (*FIELDS, *OPTIONS):
            raise unknown("field of `map`", field, {*FIELDS, *OPTIONS})
    if not isinstance(mapped.get("roles", {}), Mapping):
        raise RecipeError(
            f"map roles: must give speakers a role, as in {{Human: user}}, got {mapped['roles']!r}"
        )
    check_winners(mapped.get("winners", {}))
    for name, role in mapped.get("roles", {}).items():
        if role not in ROLES:
            raise RecipeError(f"map roles: {name} must be one of {', '.join(ROLES)}, got {role!r}")
    if mapped.get("rank_by_order", True) not in (True, False, "true", "false"):
        raise RecipeError(f"map rank_by_order: must be true or false, got {mapped['rank_by_order']!r}")
    for value in fields_in(mapped).values():
        for path in columns_of(value, ()):
            steps(path)


def fields_in(mapped: Mapping[str, Any]) -> dict[str, str]:
    """Return the fields of a map that are read from columns. Raises `RecipeError`."""
    fields = {name: value for name, value in mapped.items() if name not in OPTIONS}
    for name, value in fields.items():
        if not isinstance(value, str) or not value:
            raise RecipeError(f"map {name}: must be a column, a path or a quoted text, got {value!r}")
    return fields
