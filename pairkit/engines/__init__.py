"""Engines: what generates completions. `open_engine` opens the one that a recipe names.

`unloaded` returns what can be known of it without its model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from pairkit.engines.base import BatchEngine, Engine, PlannedEngine, Unloaded
    from pairkit.engines.cache import Cache
    from pairkit.engines.openai.account import Account
    from pairkit.engines.openai.run_budget import RunBudget
    from pairkit.engines.recipe import CallSettings, EngineRecipe


def open_engine(
    recipe: EngineRecipe,
    calls: CallSettings | None = None,
    *,
    name: str | None = None,
    account: Account | None = None,
) -> Engine:
    """Open the engine of a recipe, its model loaded.

    `name` is recorded as the author of its completions (None: the recipe's `model`). `account` is where calls
    to a server are paid from (None: one of its own, with the budget of `calls`).

    Raises `ModelError` for a model that cannot be loaded, `MissingExtraError` for an engine that is not
    installed, `RecipeError` for a missing API key.
    """
    from pairkit.engines.recipe import CallSettings
    from pairkit.engines.table import ENGINES
    from pairkit.imports import import_own

    open_named = import_own(ENGINES[recipe.engine].opens)
    # A model in this process is paid by nobody.
    shared = {} if account is None or ENGINES[recipe.engine].local else {"account": account}
    engine: Engine = open_named(recipe, calls or CallSettings(), name=name, **shared)
    return engine


def open_batches(
    recipe: EngineRecipe, calls: CallSettings, cache: Cache, *, name: str, budget: RunBudget | None = None
) -> BatchEngine:
    """Open the engine of a recipe so that its calls are put into batches. Raises as `open_engine` does.

    `budget` is what it shares with the other models of the run; None: one of its own.
    """
    from pairkit.engines.table import ENGINES
    from pairkit.imports import import_own

    path = ENGINES[recipe.engine].batches
    assert path is not None, recipe.engine  # the recipe of a build has checked it
    engine: BatchEngine = import_own(path)(recipe, calls, cache, name=name, budget=budget)
    return engine


def plan_batches(recipe: EngineRecipe, calls: CallSettings, cache: Path) -> PlannedEngine:
    """Open the engine of a recipe so that it only counts what would go into batches."""
    from pairkit.engines.table import ENGINES
    from pairkit.imports import import_own

    path = ENGINES[recipe.engine].plans
    assert path is not None, recipe.engine
    engine: PlannedEngine = import_own(path)(recipe, calls, cache)
    return engine


def unloaded(recipe: EngineRecipe) -> Unloaded:
    """Return the identity and the calls of the engine of a recipe; no model is loaded, no server is asked.

    Raises `ModelError` for a model whose tokenizer or configuration cannot be loaded, `MissingExtraError` for
    an engine that is not installed.
    """
    from pairkit.engines.table import ENGINES
    from pairkit.imports import import_own

    engine: Unloaded = import_own(ENGINES[recipe.engine].unloaded)(recipe)
    return engine
