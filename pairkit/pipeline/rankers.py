"""Which rankers a recipe names: those that ask a model, and those that compute on what a set holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from pairkit.pipeline.recipe import BuildRecipe, Ranking, name_of
from pairkit.rankers import annotations as annotated
from pairkit.rankers.base import Ranker
from pairkit.rankers.named import keep_own_order, order_by
from pairkit.rankers.verifier import verify
from pairkit.schema import QUARANTINE

if TYPE_CHECKING:
    from pairkit.pipeline.asked import Means


class Ranked(NamedTuple):
    """Sets with ranks, best first, those that cannot be ranked, and counts."""

    sets: pa.Table
    quarantine: pa.Table
    counts: dict[str, int]


def _pairrm(block: Any, means: Means, seed: int) -> Ranker:
    from pairkit.rankers import pairrm

    return pairrm.load(block)


def _reward_model(block: Any, means: Means, seed: int) -> Ranker:
    from pairkit.rankers import reward_model

    return reward_model.load(block)


def _judge(block: Any, means: Means, seed: int) -> Ranker:
    from pairkit.engines.asking import complete
    from pairkit.rankers.judge import ranker

    engine = means.engine(block)
    return ranker.load(block, lambda requests: complete(engine, requests, means.cache), seed=seed)


# Of the rankers that ask a model, by the name in the recipe: how one is loaded.
LOADED: dict[str, Callable[[Any, Means, int], Ranker]] = {
    "pairrm": _pairrm,
    "reward_model": _reward_model,
    "judge": _judge,
}


def judge_prompts(recipe: BuildRecipe) -> dict[str, str]:
    """The sha256 of each file that a judge of the recipe is asked with.

    Raises `InputError` and `RecipeError` for a prompt that cannot be used.
    """
    from pairkit.rankers.judge.prompt import read_prompts

    blocks = [block for block in recipe.rankings if block.ranker == "judge"]
    return {name: prompt.sha256 for block in blocks for name, prompt in read_prompts(block).items()}


def asking(recipe: BuildRecipe) -> list[Ranking]:
    """The blocks of the rankers that ask a model."""
    return [block for block in recipe.rankings if block.ranker in LOADED]


def load(block: Ranking, means: Means, seed: int) -> Ranker:
    """The ranker of a block, its model loaded. Raises `ModelError` and what opening an engine raises."""
    ranker: Ranker = replace(LOADED[block.ranker](block, means, seed), name=name_of(block))  # type: ignore[type-var]
    return ranker


def rank(sets: pa.Table, recipe: BuildRecipe) -> Ranked:
    """Runs the rankers that ask nobody and ranks by the score that the recipe's `order` names."""
    quarantine, counts = QUARANTINE.empty_table(), {}
    own = sets
    for block in recipe.rankings:
        if block.ranker == "verifier":
            verified = verify(sets, block)
            sets, quarantine, counts = verified.sets, verified.quarantine, verified.counts
    if recipe.orders_by == "annotations":
        sets = keep_own_order(sets, own)
    else:
        sets = order_by(sets, recipe.orders_by)
    return Ranked(annotated.rank(sets), quarantine, counts)
