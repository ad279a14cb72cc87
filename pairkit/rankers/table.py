"""Which rankers a recipe names: those that ask a model, and those that compute on what a set holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from pairkit.rankers.base import Ranker
from pairkit.rankers.judge.recipe import JudgeRecipe
from pairkit.rankers.pairrm.ranker import PairRMRecipe
from pairkit.rankers.reward_model.ranker import RewardModelRecipe
from pairkit.rankers.verifier import VerifierRecipe
from pairkit.recipes import Strict

if TYPE_CHECKING:
    from pairkit.engines.pool import EnginePool


def _pairrm(block: Any, pool: EnginePool, seed: int) -> Ranker:
    from pairkit.rankers.pairrm import ranker as pairrm

    return pairrm.load_pairrm(block)


def _reward_model(block: Any, pool: EnginePool, seed: int) -> Ranker:
    from pairkit.rankers.reward_model import ranker as reward_model

    return reward_model.load_reward_model(block)


def _judge(block: Any, pool: EnginePool, seed: int) -> Ranker:
    from pairkit.engines.asking import complete
    from pairkit.rankers.judge import ranker

    engine = pool.engine(block)
    return ranker.load_judge(block, lambda requests: complete(engine, requests, pool.cache), seed=seed)


# Of the rankers that ask a model, by the name in the recipe: how one is loaded.
LOADED: dict[str, Callable[[Any, EnginePool, int], Ranker]] = {
    "pairrm": _pairrm,
    "reward_model": _reward_model,
    "judge": _judge,
}


def judge_prompts(rankings: Iterable[Ranking]) -> dict[str, str]:
    """The sha256 of each file that a judge of these is asked with.

    Raises `InputError` and `RecipeError` for a prompt that cannot be used.
    """
    from pairkit.rankers.judge.prompt import read_prompts

    blocks = [block for block in rankings if block.ranker == "judge"]
    return {name: prompt.sha256 for block in blocks for name, prompt in read_prompts(block).items()}


def asking(rankings: Iterable[Ranking]) -> list[Ranking]:
    """The blocks of the rankers that ask a model."""
    return [block for block in rankings if block.ranker in LOADED]


def load(block: Ranking, pool: EnginePool, seed: int) -> Ranker:
    """The ranker of a block, its model loaded. Raises `ModelError` and what opening an engine raises."""
    ranker: Ranker = replace(LOADED[block.ranker](block, pool, seed), name=name_of(block))  # type: ignore[type-var]
    return ranker


class AnnotationsRank(Strict):
    """Ranks by what the source brought along: its ranks, else its scores."""

    ranker: Literal["annotations"] = "annotations"


class VerifierRank(VerifierRecipe):
    """Ranks by a check against the answer in the set's metadata."""

    ranker: Literal["verifier"] = "verifier"


class PairRMRank(PairRMRecipe):
    """Ranks by PairRM, which compares completions in pairs."""

    ranker: Literal["pairrm"] = "pairrm"
    name: str | None = None  # of its scores; null: the ranker's


class RewardModelRank(RewardModelRecipe):
    """Ranks by a reward model, which scores each completion."""

    ranker: Literal["reward_model"] = "reward_model"
    name: str | None = None  # of its scores; null: the ranker's


class JudgeRank(JudgeRecipe):
    """Ranks by what an LLM says."""

    ranker: Literal["judge"] = "judge"
    name: str | None = None  # of its scores; null: the ranker's


Ranking = Annotated[
    AnnotationsRank | VerifierRank | PairRMRank | RewardModelRank | JudgeRank, Field(discriminator="ranker")
]


def name_of(block: Ranking) -> str:
    """The name under which a ranker's scores are kept."""
    return getattr(block, "name", None) or block.ranker
