"""The rankers, one row each. A new ranker is a file, a row here with its block, and a test.

Some ask a model (a loaded `Ranker`); others compute on what a set holds already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Union

import pyarrow as pa
from pydantic import Field

from pairkit.engines.pool import EnginePool
from pairkit.engines.table import ENGINES
from pairkit.models.names import is_path, public_name
from pairkit.models.resolve import check_local
from pairkit.rankers import model_order, verifier
from pairkit.rankers.base import Ranker
from pairkit.rankers.human import ranker as human
from pairkit.rankers.judge.recipe import JudgeRecipe
from pairkit.rankers.pairrm.ranker import PairRMRecipe
from pairkit.rankers.reward_model.ranker import RewardModelRecipe
from pairkit.recipes import Strict
from pairkit.schema import StageResult


class AnnotationsRank(Strict):
    """Ranks by the ranks of the source, else by its scores."""

    ranker: Literal["annotations"] = "annotations"


class VerifierRank(verifier.VerifierRecipe):
    """Ranks by a check against the answer in the set's metadata."""

    ranker: Literal["verifier"] = "verifier"


class ModelOrderRank(model_order.ModelOrderRecipe):
    """Ranks by who wrote a completion."""

    ranker: Literal["model_order"] = "model_order"


class HumanRank(human.HumanRecipe):
    """Ranks by annotations of people, from `pairkit view --annotate`."""

    ranker: Literal["human"] = "human"


class PairRMRank(PairRMRecipe):
    """Ranks by PairRM, which compares completions in pairs."""

    ranker: Literal["pairrm"] = "pairrm"
    name: str | None = None  # of its scores; null: the ranker's


class RewardModelRank(RewardModelRecipe):
    """Ranks by a reward model, which scores each completion."""

    ranker: Literal["reward_model"] = "reward_model"
    name: str | None = None  # of its scores; null: the ranker's


class JudgeRank(JudgeRecipe):
    """Ranks by the verdicts of an LLM."""

    place: ClassVar[str] = "rank."

    ranker: Literal["judge"] = "judge"
    name: str | None = None  # of its scores; null: the ranker's


@dataclass(frozen=True)
class RankerRow:
    """One ranker.

    Attributes:
        help: one line.
        block: its fields in a recipe; `ranker` is the literal name of the row.
        load: loads the ranker of a block with its model; None: it asks no model.
        compute: scores a table without a model. A row without `load` and `compute` adds no score: its
            order is the source's.
        check: raises what is wrong with a block, without loading a model.
        libraries: the libraries that determine its scores, besides those of a block's engine.
        extra: what `pip install 'pairkit[EXTRA]'` installs for it.
        public: fields that may be paths, with what they are called in published files.
        prompts: the sha256 of each file that the block's model is prompted with.
        files: the sha256 of each further file that determines its scores, by name.
    """

    help: str
    block: type[Strict]
    load: Callable[[Any, EnginePool, int], Ranker] | None = None
    compute: Callable[[pa.Table, Any], StageResult] | None = None
    check: Callable[[Any], None] = lambda block: None
    libraries: tuple[str, ...] = ()
    extra: str | None = None
    public: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)
    prompts: Callable[[Any], dict[str, str]] = lambda block: {}
    files: Callable[[Any], dict[str, str]] = lambda block: {}


def _check_model(block: Any) -> None:
    check_local("model", block.model)


def _pairrm(block: Any, pool: EnginePool, seed: int) -> Ranker:
    # Here and not above, because torch takes seconds and a dry run needs none of it.
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


def _check_judge(block: Any) -> None:
    # Reading the prompts is their check.
    _judge_prompts(block)
    if ENGINES[block.engine].local:
        _check_model(block)


def _judge_prompts(block: Any) -> dict[str, str]:
    from pairkit.rankers.judge.prompt import read_prompts

    return {name: prompt.sha256 for name, prompt in read_prompts(block).items()}


def _model_names(models: list[str]) -> list[str]:
    # Only of what is a path by its form: a name may be that of a directory by chance.
    return [public_name(model) if is_path(model) else model for model in models]


def _file_names(prompts: str | list[str]) -> str | list[str]:
    # A path would publish the folders of this machine.
    return Path(prompts).name if isinstance(prompts, str) else [Path(prompt).name for prompt in prompts]


RANKERS: dict[str, RankerRow] = {
    "annotations": RankerRow("the ranks of the source, else its scores", AnnotationsRank),
    "verifier": RankerRow(
        "a check against the answer in the set's metadata, or a Python function",
        VerifierRank,
        compute=verifier.verify,
        check=verifier.check_recipe,
    ),
    "model_order": RankerRow(
        "who wrote a completion: a strong model's above a weak one's",
        ModelOrderRank,
        compute=model_order.rank_by_model,
        public={"models": _model_names},
    ),
    "human": RankerRow(
        "people, who have annotated sets in `pairkit view --annotate`",
        HumanRank,
        compute=human.rank_by_people,
        check=human.check,
        public={"path": lambda path: Path(path).name},
        files=human.hashes,
    ),
    "pairrm": RankerRow(
        "PairRM, which compares completions in pairs",
        PairRMRank,
        load=_pairrm,
        check=_check_model,
        libraries=("torch", "transformers"),
        public={"model": public_name},
    ),
    "reward_model": RankerRow(
        "a reward model, which scores each completion",
        RewardModelRank,
        load=_reward_model,
        check=_check_model,
        libraries=("torch", "transformers"),
        public={"model": public_name},
    ),
    "judge": RankerRow(
        "an LLM that compares, rates or orders completions",
        JudgeRank,
        load=_judge,
        check=_check_judge,
        public={"model": public_name, "prompt": _file_names, "aspects": _file_names},
        prompts=_judge_prompts,
    ),
}

# A type checker cannot read a union that is made from a table.
if TYPE_CHECKING:

    class Ranking(Strict):
        """A block of `rank:`: one of those in the table."""

        ranker: str

else:
    Ranking = Annotated[Union[tuple(row.block for row in RANKERS.values())], Field(discriminator="ranker")]  # noqa: UP007


def asking(rankings: Iterable[Ranking]) -> list[Ranking]:
    """Return the blocks of the rankers that ask a model."""
    return [block for block in rankings if RANKERS[block.ranker].load is not None]


def scoring(rankings: Iterable[Ranking]) -> list[str]:
    """Return the names of the rankers that add a score of their own."""
    rows = ((name_of(block), RANKERS[block.ranker]) for block in rankings)
    return [name for name, row in rows if row.load or row.compute]


def load(block: Ranking, pool: EnginePool, seed: int) -> Ranker:
    """Load the ranker of a block with its model. Raises `ModelError` and what opening an engine raises."""
    loader = RANKERS[block.ranker].load
    assert loader is not None, block.ranker
    # The name of the block, because two judges of a recipe must not overwrite each other's scores.
    ranker: Ranker = replace(loader(block, pool, seed), name=name_of(block))  # type: ignore[type-var]
    return ranker


def libraries(block: Ranking) -> tuple[str, ...]:
    """Return the libraries that determine the scores of a block."""
    engine = getattr(block, "engine", None)
    return (*RANKERS[block.ranker].libraries, *(ENGINES[engine].libraries if engine else ()))


def name_of(block: Ranking) -> str:
    """Return the name under which a ranker's scores are kept."""
    return getattr(block, "name", None) or block.ranker
