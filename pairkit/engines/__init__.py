"""Engines: what generates completions. `open_engine` finds the one that a recipe names."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pairkit.engines.base import Engine
    from pairkit.engines.recipe import CallSettings, EngineRecipe


def open_engine(
    recipe: EngineRecipe, calls: CallSettings | None = None, *, name: str | None = None
) -> Engine:
    """The engine of a recipe, its model loaded; `name` is what its completions say (None: as in the recipe).

    Raises `ModelError` for a model that cannot be loaded, `MissingExtraError` for an engine that is not
    installed, `RecipeError` for a key that is missing.
    """
    if recipe.engine == "openai":
        from pairkit.engines.openai import engine
        from pairkit.engines.recipe import CallSettings

        return engine.connect(recipe, calls or CallSettings(), name=name)
    if recipe.engine == "vllm":
        from pairkit.engines import vllm

        return vllm.load(recipe, name=name)
    from pairkit.engines import transformers

    return transformers.load(
        recipe.model, revision=recipe.revision, batch_tokens=recipe.batch_tokens, name=name
    )
