"""The blocks `dedup:` and `decontaminate:` of a build recipe."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from pydantic import Field, PositiveInt, model_validator

from pairkit.mining.filters import FilterRecipe
from pairkit.recipes import Strict

Similarity = Annotated[float, Field(gt=0, le=1)]
Keep = Literal["first", "best_margin", "most_completions"]


class DedupRecipe(Strict):
    """Which prompts are duplicates, and which set of them stays.

    threshold   the estimated Jaccard similarity of the runs of `ngram` words of two prompts from which on
                they are near-duplicates; null finds exact ones alone. A set leaves only if it is this
                similar to one that stays.
    keep        which set of duplicates stays: the `first`, the one with the largest margin between its best
                and its lowest score (`best_margin`; of several sources, by its place among those of its
                source, because their scales may differ), or the one with the `most_completions`; then the
                first.
    exact       sets of the same prompt (`prompt_id`): `drop` all but one, or `merge` the completions of those
                of one source that all have scores, and of those that have neither scores nor ranks, each into
                the first of them. If a ranker orders the sets, all are merged, of any source.
    ngram       words of a run.
    semantic    the cosine similarity of the embeddings of two prompts from which on they are duplicates;
                null: none are. It is for some 100,000 prompts.
    model       of these embeddings: a directory or a hub id of a model2vec model.
    """

    threshold: Similarity | None = 0.8
    keep: Keep = "first"
    exact: Literal["drop", "merge"] = "drop"
    ngram: Annotated[int, Field(ge=1, le=100)] = 5
    semantic: Similarity | None = None
    model: str | None = None

    @model_validator(mode="after")
    def _model_for_meaning(self) -> DedupRecipe:
        if (self.semantic is None) != (self.model is None):
            raise ValueError("dedup.semantic and dedup.model belong together: set both or neither")
        return self


class DecontaminationRecipe(Strict):
    """Which prompts are too close to a benchmark's to be trained on.

    against      the benchmarks: files of their prompts (FILE or NAME=FILE), or names (alpaca_eval,
                 arena_hard_0.1, arena_hard_2.0, gsm8k, humaneval, ifeval, mt_bench), which are downloaded
                 from the hub.
    ngram        words of a run that counts as shared, 8 to 13.
    overlap      the share of a benchmark prompt's runs that are in a message from which on its set
                 leaves. A message that is the whole benchmark prompt, however short, has 1.
    boilerplate  runs in more prompts of the source than this do not count, nor do those in more than 3
                 prompts of the benchmarks.
    completions  also compare the source's completions.
    """

    against: Annotated[tuple[str, ...], Field(min_length=1)]
    ngram: Annotated[int, Field(ge=8, le=13)] = 8
    overlap: Similarity = 0.5
    boilerplate: PositiveInt = 50
    completions: bool = False


class Prepass(NamedTuple):
    """The blocks of a recipe that the prepass reads. The filters are those of prompts alone.

    `reranked` tells whether a ranker replaces the scores of the source, whose scales then do not matter.
    """

    dedup: DedupRecipe | None
    decontaminate: DecontaminationRecipe | None
    filters: FilterRecipe
    reranked: bool = False

    @property
    def whole(self) -> bool:
        """Whether anything needs the whole prompt column."""
        return self.dedup is not None or self.decontaminate is not None
