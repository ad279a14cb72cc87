"""The ranker `model_order`: a completion's score is the place of the model that wrote it. No model is asked.

Pairs of a strong and a weak model's completions are preference data without a judge (delta learning: Geng et
al. 2025, arXiv 2507.06187).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, field_validator

from pairkit.models.names import public_name
from pairkit.rankers.named import with_score
from pairkit.recipes import Strict
from pairkit.schema import StageResult, quarantine_rows
from pairkit.sets import assemble, completions, map_batches

NAME = "model_order"
UNKNOWN = "unknown_model"  # the reason of a set with a completion of a model that has no place


class ModelOrderRecipe(Strict):
    """The settings of the ranker `model_order`."""

    # Authors of completions, the strongest first; a directory may be given by its path.
    models: tuple[str, ...] = Field(min_length=2)

    @field_validator("models")
    @classmethod
    def _distinct(cls, models: tuple[str, ...]) -> tuple[str, ...]:
        twice = next((name for name in models if models.count(name) > 1), None)
        if twice:
            raise ValueError(f"recipe key 'rank.models': {twice!r} occurs twice")
        return models

    @property
    def places(self) -> dict[str, int]:
        """The place of each author, 0 for the strongest: by its name, and by that of a directory."""
        of_folders = {public_name(model): place for place, model in enumerate(self.models)}
        # A name as it is given comes first: it may be that of a directory by chance.
        return {**of_folders, **{model: place for place, model in enumerate(self.models)}}


def rank_by_model(sets: pa.Table, recipe: ModelOrderRecipe) -> StageResult:
    """Set `score` and the named score `model_order`: the number of models of the recipe that are weaker.

    Completions of one model are equals, and noise has no score. A set with a completion of a model that the
    recipe does not name goes to quarantine (`unknown_model`). Counts: `ordered_by_model`, completions.
    """
    places, weakest = recipe.places, len(recipe.models) - 1
    frame = _first_unknown(sets, list(places))
    authors = pa.array(places, pa.string())
    weaker = pa.array([float(weakest - place) for place in places.values()], pa.float64())
    rankable = pa.array(frame["unknown"].is_null().to_numpy(), pa.bool_())

    def score(batch: pa.RecordBatch) -> pa.RecordBatch:
        flat = completions(batch)
        scores = weaker.take(pc.index_in(pc.struct_field(flat, "model"), value_set=authors))
        noise = pc.equal(pc.struct_field(flat, "origin"), "noise")
        values = pc.if_else(noise, pa.scalar(None, pa.float64()), scores)
        owner = pc.list_parent_indices(batch["completions"]).to_numpy()
        return assemble(batch, with_score(flat, NAME, values), owner, np.arange(len(flat)))

    scored_sets = map_batches(sets.filter(rankable), score)
    others = sets.filter(pc.invert(rankable))
    known_names = ", ".join(recipe.models)
    details = [
        f"a completion is by {name!r}, which rank.models does not name ({known_names})"
        if name
        else f"a completion has no author, and rank.models orders by author ({known_names})"
        for name in frame["unknown"].drop_nulls()
    ]
    quarantine = quarantine_rows("rank", others, [UNKNOWN] * others.num_rows, details)
    completion_count = pc.sum(pc.list_value_length(scored_sets["completions"]), min_count=0).as_py()
    return StageResult(scored_sets, quarantine, counts={"ordered_by_model": completion_count})


def _first_unknown(sets: pa.Table, names: Sequence[str]) -> pl.DataFrame:
    """Return one row per set: `unknown`, the first author that has no place, or null."""
    flat = pc.list_flatten(sets["completions"])
    frame = pl.DataFrame(
        {
            "set": pl.from_arrow(pc.list_parent_indices(sets["completions"])),
            "model": pl.from_arrow(pc.struct_field(flat, "model")),
            "noise": pl.from_arrow(pc.equal(pc.struct_field(flat, "origin"), "noise")),
        },
        schema={"set": pl.Int64, "model": pl.String, "noise": pl.Boolean},
    )
    unknown = frame.filter(~pl.col("noise") & ~pl.col("model").is_in(names).fill_null(False))
    first = unknown.group_by("set").agg(unknown=pl.col("model").fill_null("").first())
    every = pl.DataFrame({"set": pl.arange(0, sets.num_rows, dtype=pl.Int64, eager=True)})
    return every.join(first, on="set", how="left", maintain_order="left")
