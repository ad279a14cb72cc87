"""The recipe of `pairkit eval ranker`: names and settings of rankers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Union

from pydantic import Field, model_validator

from pairkit.engines.recipe import CallSettings, DirectCalls
from pairkit.evaluation.files import file_name
from pairkit.evaluation.ranker.baselines import by_chance, by_length, stored
from pairkit.rankers.table import RANKERS, JudgeRank, RankerRow
from pairkit.rankers.thoughts import Thoughts
from pairkit.recipes import Strict


class StoredScores(Strict):
    """The scores that the data has already.

    score  one of the named scores of completions; null: the completion's `score`, or the rank in a dataset
           without scores.
    """

    ranker: Literal["annotations"] = "annotations"
    score: str | None = None


class LengthBaseline(Strict):
    """The longer completion is better, in characters."""

    ranker: Literal["length"] = "length"
    thoughts: Thoughts = "strip"


class ChanceBaseline(Strict):
    """A random score of each text in each set."""

    ranker: Literal["random"] = "random"
    seed: int = 0


class TableJudge(JudgeRank):
    """An LLM as judge."""

    place: ClassVar[str] = "rankers.NAME."


# Of a build's rankers, those whose scores do not depend on a rank that a build would give.
KINDS: Mapping[str, RankerRow] = {
    **RANKERS,
    "annotations": RankerRow("the scores that the data has already", StoredScores, compute=stored),
    "length": RankerRow("baseline: the longer completion is better", LengthBaseline, compute=by_length),
    "random": RankerRow("baseline: chance", ChanceBaseline, compute=by_chance),
}
_BLOCKS = [TableJudge if row.block is JudgeRank else row.block for row in KINDS.values()]

# A type checker cannot read a union that is made from a table.
if TYPE_CHECKING:

    class Block(Strict):
        """The settings of a ranker: a block of one of `KINDS`."""

        ranker: str

else:
    Block = Annotated[Union[tuple(_BLOCKS)], Field(discriminator="ranker")]  # noqa: UP007

# What the word after a kind sets, as in `--ranker reward_model=DIR`.
MAIN_FIELD = {
    "reward_model": "model",
    "pairrm": "model",
    "judge": "model",
    "verifier": "check",
    "human": "path",
    "annotations": "score",
}


class EvalRankerRecipe(Strict):
    """Rankers, and how they are compared.

    rankers  name in results -> the settings of the ranker.
    subset   the field of metadata that results are divided by; null: `subset`, else `category`.
    margins  ascending edges of the bins of differences between the data's scores; null: their quartiles.
    seed     of judges and of resampling.
    """

    rankers: dict[str, Block] = Field(default_factory=dict)
    subset: str | None = None
    margins: tuple[float, ...] | None = None
    seed: int = 0
    calls: DirectCalls = CallSettings()

    @model_validator(mode="after")
    def _rankers_have_names(self) -> EvalRankerRecipe:
        if not self.rankers:
            raise ValueError(f"no ranker: give --ranker KIND, or KIND=MODEL, of {', '.join(KINDS)}")
        for name, block in self.rankers.items():
            if getattr(block, "name", None) is not None:
                raise ValueError(
                    f"recipe key 'rankers.{name}.name': the ranker's name is {name!r}: remove it"
                )
        folders = {name: file_name(name).casefold() for name in self.rankers}
        for name, folder in folders.items():
            if twin := next((other for other in folders if other != name and folders[other] == folder), None):
                raise ValueError(f"the rankers {name!r} and {twin!r} would be one directory: rename one")
        return self

    @model_validator(mode="after")
    def _margins_ascend(self) -> EvalRankerRecipe:
        edges = self.margins
        if edges is not None and (not edges or list(edges) != sorted(set(edges))):
            raise ValueError(f"recipe key 'margins': must be ascending numbers, got {list(edges)}")
        return self

    def named(self) -> dict[str, Block]:
        """Return the rankers, each block with its name where it has such a field."""
        return {
            name: block.model_copy(update={"name": name}) if "name" in type(block).model_fields else block
            for name, block in self.rankers.items()
        }
