"""What callers of the public functions pass: checked, and made into what recipe files have."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, get_args

if TYPE_CHECKING:
    from pairkit.pipeline.executors.ray.settings import RaySettings

Location = str | os.PathLike[str]


def code_of_file(
    from_file: bool, allow_code: Iterable[str], fields: Mapping[str, Any]
) -> AbstractContextManager[None]:
    """Import for a recipe file only what the caller names; a recipe of the caller's own is free to."""
    from pairkit.trust import only_trusted

    return only_trusted(fields, allow_code) if from_file else nullcontext()


def cluster_settings(settings: RaySettings | Mapping[str, Any] | None) -> RaySettings | None:
    from pairkit.pipeline.executors.ray.settings import RaySettings
    from pairkit.recipes import validate

    if settings is None or isinstance(settings, RaySettings):
        return settings
    return validate(RaySettings, settings)


def check_on_existing(value: str) -> None:
    from pairkit.errors import unknown
    from pairkit.files import OnExisting

    if value not in get_args(OnExisting):
        raise unknown("value of on_existing", value, get_args(OnExisting))


def check_counts(**counts: Any) -> None:
    from pairkit.errors import RecipeError

    for name, number in counts.items():
        if not isinstance(number, int) or number < 1:
            raise RecipeError(f"{name} must be a whole number of at least 1, got {number!r}")


def recipe_fields(recipe: Any) -> dict[str, Any]:
    """Return the fields that a recipe sets. Raises `RecipeError` for what is not a recipe."""
    from pairkit.errors import RecipeError
    from pairkit.recipes import Strict

    if not isinstance(recipe, Mapping | Strict):
        kinds = "a recipe object, a mapping of its fields, the name of a shipped recipe, or a YAML file"
        raise RecipeError(f"cannot read the recipe {recipe!r}: expected {kinds}")
    if isinstance(recipe, Mapping) and not all(isinstance(key, str) for key in recipe):
        raise RecipeError(f"the keys of a recipe must be text, got {list(recipe)!r}")
    # Only fields that were set, because others must not overwrite a recipe that is merged with them.
    return plain(recipe if isinstance(recipe, Mapping) else recipe.model_dump(exclude_unset=True))


def plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Replace paths and datasets by their names, as a recipe file has them."""
    return {
        key: plain(value)
        if isinstance(value, Mapping)
        else os.fspath(value)
        if isinstance(value, os.PathLike)
        else value
        for key, value in fields.items()
    }
