"""Engines: what generates completions. `open_engine` finds the one that a recipe names."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pairkit.engines.base import Engine
    from pairkit.engines.generate import GenerateRecipe


def open_engine(recipe: GenerateRecipe, *, name: str | None = None) -> Engine:
    """The engine of a recipe, its model loaded; `name` is what its completions say (None: as in the recipe).

    Raises `ModelError`.
    """
    from pairkit.engines.transformers import load

    return load(recipe.model, revision=recipe.revision, batch_tokens=recipe.batch_tokens, name=name)
