"""The recipe of a build: everything that determines the rows, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import (
    Discriminator,
    Field,
    PositiveFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
    model_validator,
)

from pairkit import recipes
from pairkit.dataset.card_settings import CardSettings
from pairkit.engines.generate import GenerateRecipe
from pairkit.engines.model_pool import PooledModel, PoolRecipe, generating
from pairkit.engines.recipe import CallSettings, check_batches
from pairkit.errors import RecipeError, unknown
from pairkit.mining.filters import FilterRecipe
from pairkit.mining.recipe import MineRecipe
from pairkit.models.names import public_name
from pairkit.pipeline.prepass.settings import DecontaminationRecipe, DedupRecipe, Prepass
from pairkit.rankers import table
from pairkit.rankers.panel.stage import NAME as PANEL
from pairkit.rankers.panel.stage import check_panel
from pairkit.rankers.table import AnnotationsRank, HumanRank, ModelOrderRank, Ranking, name_of
from pairkit.recipes import Strict
from pairkit.sources.base import MixedSource, Mixture, SourceRecipe, check_mixture
from pairkit.trust import check_requests

KIND = "pipelines"


def _kind_of_generation(value: Any) -> str:
    pool = isinstance(value, PoolRecipe) or (isinstance(value, Mapping) and "models" in value)
    return "pool" if pool else "one"


class BuildRecipe(Strict):
    """A build: source -> generate -> rank -> mine -> write.

    sources        several sources instead of one, each with a name, and a weight, limit or fraction.
    generate       the model that completes the source's prompts, and how, or a pool of models; null keeps the
                   completions of the source.
    rank           the ranker of the completions, with its fields; or a list of such blocks, whose scores are
                   all kept.
    order          with several rankers, the name of the one that ranks; null: the first, or the panel.
    panel          names of rankers that form a panel: their mean place is the score `panel`, and the card has
                   how far they agree.
    dedup          which prompts are duplicates, and which set of them stays; null: none are.
    decontaminate  which prompts are too close to those of benchmarks; null: none are.
    filter         which sets leave by a value of theirs: lengths, scores, margins, languages, patterns, ....
    test_fraction  share of the prompts that go to the split `test`, chosen by a hash of the prompt alone:
                   a prompt is in the same split of every dataset, however often it occurs.
    seed           of everything random: in generation, in mining and in `pairs/`.
    unit_rows      raw rows that are processed together, fewer where they have more than 32 MiB. The rows of
                   the dataset do not depend on it, except that a model in another batch may round its logits
                   differently; row groups do depend on it.
    shard_mb       megabytes of text in the sets of an output file, before compression.
    calls          how a server is called. It changes no row and is not part of a dataset's identity.
    card           what the card states besides what pairkit knows: license, language, pretty_name, tags,
                   description, text. It changes no row either.

    >>> import pairkit
    >>> recipe = pairkit.BuildRecipe(source={"name": "files", "path": "my.jsonl"}, mine={"keep_negatives": 3})
    >>> recipe.test_fraction
    0.05

    Raises `pydantic.ValidationError` for unknown keys and values out of range; `pairkit.build` also takes the
    fields as a mapping, and raises `RecipeError` for them.
    """

    source: SourceRecipe | None = None
    sources: tuple[MixedSource, ...] = ()
    generate: (
        Annotated[
            Annotated[GenerateRecipe, Tag("one")] | Annotated[PoolRecipe, Tag("pool")],
            Discriminator(_kind_of_generation),
        ]
        | None
    ) = None
    rank: Annotated[
        Annotated[Ranking, Tag("one")] | Annotated[tuple[Ranking, ...], Tag("several")],
        Discriminator(lambda value: "several" if isinstance(value, (list, tuple)) else "one"),
    ] = AnnotationsRank()  # type: ignore[assignment]  # a union that the table makes
    order: str | None = None
    # Only where it is set, because a further field would change the identity of all other datasets.
    panel: tuple[str, ...] | None = Field(default=None, exclude_if=lambda panel: panel is None)
    dedup: DedupRecipe | None = None
    decontaminate: DecontaminationRecipe | None = None
    filter: FilterRecipe = FilterRecipe()
    mine: MineRecipe = MineRecipe()
    test_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.05
    seed: int = 0
    # Large enough for work by columns, small enough that a kill loses little.
    unit_rows: PositiveInt = 1000
    shard_mb: PositiveFloat = 256
    calls: CallSettings = CallSettings()
    card: CardSettings = CardSettings()

    @property
    def input(self) -> SourceRecipe | Mixture:
        """What is read: one source or several."""
        return self.source or Mixture(self.sources, self.seed)

    @property
    def every_source(self) -> tuple[SourceRecipe, ...]:
        """The blocks of all sources."""
        return (self.source,) if self.source else tuple(entry.source for entry in self.sources)

    @property
    def title(self) -> str:
        """The name of the source, or those of all of them."""
        return self.source.name if self.source else "+".join(entry.title for entry in self.sources)

    @property
    def writers(self) -> dict[str, GenerateRecipe]:
        """The models that generate, by the name of the stage: "generate", or "generate.NAME" in a pool."""
        return {
            f"generate.{block.title}" if isinstance(block, PooledModel) else "generate": block
            for block in generating(self.generate)
        }

    @model_serializer(mode="wrap")
    def _without_new(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Only one of the two, because an empty one would be a difference to earlier builds.
        content: dict[str, Any] = handler(self)
        content.pop("sources" if self.source else "source", None)
        return content

    @property
    def rankings(self) -> tuple[Ranking, ...]:
        """The blocks of `rank`, even if it is a single one."""
        return self.rank if isinstance(self.rank, tuple) else (self.rank,)

    @property
    def orders_by(self) -> str:
        """The name of the ranker that ranks."""
        return self.order or (PANEL if self.panel else name_of(self.rankings[0]))

    @property
    def prepass(self) -> Prepass:
        """What is decided about prompts before any model is asked."""
        reranked = AnnotationsRank().ranker not in (self.orders_by, self.otherwise_by)
        return Prepass(self.dedup, self.decontaminate, self.filter, reranked)

    @property
    def otherwise_by(self) -> str | None:
        """The name of the ranker of the sets that people have not annotated; None: they are not kept."""
        for block in self.rankings:
            if (
                isinstance(block, HumanRank)
                and block.unlabeled == "keep"
                and self.orders_by == name_of(block)
            ):
                others = [name_of(other) for other in self.rankings if other is not block]
                return others[0] if others else "annotations"
        return None

    @model_validator(mode="after")
    def _some_source(self) -> BuildRecipe:
        if (self.source is None) == (not self.sources):
            both = "has both" if self.source else "has neither"
            raise ValueError(f"a build needs `source`, or a list of `sources`; the recipe {both}")
        check_mixture(self.sources)
        return self

    @model_validator(mode="after")
    def _one_order(self) -> BuildRecipe:
        names = [name_of(block) for block in self.rankings]
        twice = next((name for name in names if names.count(name) > 1), None)
        if not names or twice:
            nameable = any(
                "name" in type(block).model_fields for block in self.rankings if name_of(block) == twice
            )
            advice = "give each a name" if nameable else "only one is possible"
            problem = f"{twice} occurs twice: {advice}" if twice else "names no ranker"
            raise ValueError(f"recipe key 'rank': {problem}")
        check_batches(self.calls, [*generating(self.generate), *self.rankings])
        if self.panel is not None:
            check_panel(self.panel, names, table.scoring(self.rankings))
            names.append(PANEL)
        if self.mine.min_agreement is not None and self.panel is None:
            raise ValueError(
                "recipe key 'mine.min_agreement' needs a panel: name two or more rankers in panel, as in "
                f"panel=[a, b]; rank has {', '.join(names)}"
            )
        if self.orders_by not in names:
            raise ValueError(
                f"recipe key 'order': {self.order!r} is not one of the rankers: {', '.join(names)}"
            )
        for block in self.rankings:
            if isinstance(block, ModelOrderRank):
                _check_models(block, self)
        return self


def _check_models(block: ModelOrderRank, recipe: BuildRecipe) -> None:
    """Raise `ValueError` where the order and the models that generate are not the same ones."""
    names = [
        public_name(writer.model) if stage == "generate" else stage.removeprefix("generate.")
        for stage, writer in recipe.writers.items()
    ]
    # Completions of the source may be by anybody.
    if recipe.generate is None or recipe.generate.keep_source:
        return
    for model in block.models:
        if model not in names and public_name(model) not in names:
            raise ValueError(str(unknown("model in rank.models", model, names)))
    for name in names:
        if name not in block.places:
            raise ValueError(f"recipe key 'rank.models': {name!r} generates completions and has no place")


def load(
    name_or_file: str | None,
    flags: Mapping[str, Any],
    overrides: Mapping[str, Any],
    *,
    remote_code: bool = False,
    allow_keys: Iterable[str] = (),
) -> BuildRecipe:
    """Load the recipe of a name or file, with `flags` and then `overrides` replacing its fields.

    Args:
        remote_code: whether a file may ask to run code that comes with a model, as flags and overrides may.
        allow_keys: keys that a file may have sent to a server, as VARIABLE@URL.

    Raises `RecipeError` for an unknown key or value, for code or a key that only the file asks for, and if
    neither recipe nor flags name a source.
    """
    content = _named(recipes.read(name_or_file, KIND) if name_or_file else {})
    typed = recipes.merge(flags, _named(overrides))
    content = recipes.merge(recipes.merge(content, flags), _named(overrides))
    check_requests(content, typed, remote_code=remote_code, allow_keys=allow_keys)
    # Before the source, because a misspelled `source` would otherwise only be missing.
    for key in content.keys() - BuildRecipe.model_fields.keys():
        raise unknown("recipe key", key, BuildRecipe.model_fields)
    block = content.get("source")
    if content.get("sources") and isinstance(block, Mapping) and block and "name" not in block:
        raise RecipeError(
            f"{', '.join(f'source.{key}' for key in block)}: belongs to a build of one source, and the "
            "recipe has several: set it in the entries of `sources`, as in "
            "sources='[{source: NAME, limit: 100}, ...]'"
        )
    has_source = isinstance(content.get("source"), Mapping) and "name" in content["source"]
    if not has_source and not content.get("sources"):
        raise RecipeError(
            "nothing to build from: give --source NAME (`pairkit sources` lists them) or --recipe"
        )
    return recipes.validate(BuildRecipe, content)


def _named(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return `content` with `source: NAME` written as `source: {name: NAME}`."""
    source = content.get("source")
    return {**content, "source": {"name": source}} if isinstance(source, str) else content
