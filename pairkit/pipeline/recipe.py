"""The recipe of a build: everything that determines the rows, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, PositiveFloat, PositiveInt, Tag, model_validator

from pairkit import recipes
from pairkit.engines.generate import GenerateRecipe
from pairkit.engines.recipe import CallSettings
from pairkit.errors import RecipeError, unknown
from pairkit.mining.recipe import MineRecipe
from pairkit.rankers.judge.recipe import JudgeRecipe
from pairkit.rankers.pairrm import PairRMRecipe
from pairkit.rankers.reward_model import RewardModelRecipe
from pairkit.rankers.verifier import VerifierRecipe
from pairkit.recipes import Strict
from pairkit.sources.base import SourceRecipe

KIND = "pipelines"


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


class BuildRecipe(Strict):
    """A build: source -> generate -> rank -> mine -> write.

    generate       the model that completes the source's prompts, and how; null leaves the completions that
                   the source has.
    rank           what ranks the completions, its fields those of the ranker; or a list of such blocks, whose
                   scores are all kept.
    order          of several rankers, the one that ranks; null: the first.
    test_fraction  share of the prompts that go to the split `test`, chosen by a hash of the prompt alone:
                   a prompt is in the same split of every data set, however often it occurs.
    seed           of everything that is drawn: in generation, in mining and in `pairs/`.
    unit_rows      raw rows worked on together. The rows do not depend on it (what a model generates does, as
                   far as another batch rounds its logits otherwise); row groups do.
    shard_mb       megabytes of text in the sets of an output file, before compression.
    calls          how a server is asked. It changes no row and is no part of what a data set is.
    """

    source: SourceRecipe
    generate: GenerateRecipe | None = None
    rank: Annotated[
        Annotated[Ranking, Tag("one")] | Annotated[tuple[Ranking, ...], Tag("several")],
        Discriminator(lambda value: "several" if isinstance(value, (list, tuple)) else "one"),
    ] = AnnotationsRank()
    order: str | None = None
    mine: MineRecipe = MineRecipe()
    test_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.05
    seed: int = 0
    unit_rows: PositiveInt = 1000
    shard_mb: PositiveFloat = 256
    calls: CallSettings = CallSettings()

    @property
    def rankings(self) -> tuple[Ranking, ...]:
        """The blocks of `rank`, also where it is one."""
        return self.rank if isinstance(self.rank, tuple) else (self.rank,)

    @property
    def orders_by(self) -> str:
        """The name of the ranker that ranks."""
        return self.order or name_of(self.rankings[0])

    @model_validator(mode="after")
    def _one_order(self) -> BuildRecipe:
        names = [name_of(block) for block in self.rankings]
        twice = next((name for name in names if names.count(name) > 1), None)
        if not names or twice:
            problem = f"{twice} is there twice: give each a name" if twice else "names no ranker"
            raise ValueError(f"recipe key 'rank': {problem}")
        if self.orders_by not in names:
            raise ValueError(f"recipe key 'order': {self.order!r} is none of the rankers {', '.join(names)}")
        return self


def load(name_or_file: str | None, flags: Mapping[str, Any], overrides: Mapping[str, Any]) -> BuildRecipe:
    """The recipe of that name or file, with `flags` and then `overrides` laid over its fields.

    Raises `RecipeError` for an unknown key or value, and where neither recipe nor flags name a source.
    """
    content = _named(recipes.read(name_or_file, KIND) if name_or_file else {})
    content = recipes.merge(recipes.merge(content, flags), _named(overrides))
    for key in content.keys() - BuildRecipe.model_fields.keys():
        raise unknown("recipe key", key, BuildRecipe.model_fields)
    if not isinstance(content.get("source"), Mapping) or "name" not in content["source"]:
        raise RecipeError(
            "nothing to build from: give --source NAME (`pairkit sources` lists them) or --recipe"
        )
    return recipes.validate(BuildRecipe, content)


def _named(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same with `source: NAME` written out as `source: {name: NAME}`."""
    source = content.get("source")
    return {**content, "source": {"name": source}} if isinstance(source, str) else content


def portable(recipe: BuildRecipe) -> dict[str, Any]:
    """The resolved recipe as plain values, the paths of input, models and tokenizer cut down to names.

    Where they lie on this machine, and where a server is, neither changes the rows nor belongs into what is
    published.
    """
    content = recipe.model_dump(mode="json", exclude={"calls"})
    if recipe.source.path is not None:
        content["source"]["path"] = Path(recipe.source.path).name
    ranks = content["rank"] if isinstance(content["rank"], list) else [content["rank"]]
    for block in [content["generate"] or {}, *ranks]:
        if "model" in block:
            block["model"] = public_name(block["model"])
        for key in ("prompt", "aspects"):
            if block.get(key) is not None:
                block[key] = _names(block[key])
        block.pop("base_url", None)
        block.pop("api_key_env", None)
    swap = recipe.mine.noise.token_swap
    if swap is not None:
        content["mine"]["noise"]["token_swap"]["tokenizer"] = public_name(swap.tokenizer)
    return content


def _names(prompts: str | list[str]) -> str | list[str]:
    """A judge's prompts, the paths of files cut down to names."""
    return Path(prompts).name if isinstance(prompts, str) else [Path(one).name for one in prompts]


def public_name(model: str) -> str:
    """What a model is called in what is published: its hub id, or the last two parts of its directory."""
    return "/".join(Path(model).resolve().parts[-2:]) if Path(model).is_dir() else model
