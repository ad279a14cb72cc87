"""Label Studio: annotations of several people, some of them canceled, of which most decide."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
import pyarrow as pa

from pairkit.arrow import cast_or_null, flatten, is_list
from pairkit.sources.layouts.paths import values_at

SELECTED = "annotations[].result[].value.selected"
CANCELLED = "annotations[].was_cancelled"


def votes(columns: Mapping[str, pa.Array]) -> dict[str, pa.Array]:
    """Return `selected`: what most annotations of a row select, a tie where several are as many.

    Canceled annotations do not count. One that selects two things names no winner.
    """
    size = len(next(iter(columns.values())))
    selections, cancellations = (values_at(columns, path, size) for path in (SELECTED, CANCELLED))
    if not (is_list(selections.type) and is_list(selections.type.value_type)):
        return {"selected": pa.nulls(size, pa.string())}
    rows, results = flatten(selections)
    cuts, words = flatten(results)
    dropped = flatten(cancellations)[1] if is_list(cancellations.type) else pa.nulls(len(results))
    annotations = pl.DataFrame(
        {
            "annotation": np.arange(len(results)),
            "row": np.repeat(np.arange(size), np.diff(rows)),
            "dropped": pl.Series(cast_or_null(dropped, pa.bool_())).fill_null(False),
        }
    )
    choices = pl.DataFrame(
        {
            "annotation": np.repeat(np.arange(len(results)), np.diff(cuts)),
            "word": pl.Series(cast_or_null(words, pa.string()), dtype=pl.String),
        }
    )
    most = (
        choices.drop_nulls("word")
        .group_by("annotation")
        .agg(pl.col("word").unique().sort().str.join(" and "))
        .join(annotations.filter(~pl.col("dropped")), on="annotation")
        .group_by("row", "word")
        .agg(votes=pl.len())
        .filter(pl.col("votes") == pl.col("votes").max().over("row"))
        .group_by("row")
        .agg(word=pl.when(pl.len() == 1).then(pl.col("word").first()).otherwise(pl.lit("tie")))
    )
    winners = pl.DataFrame({"row": np.arange(size)}).join(most, on="row", how="left", maintain_order="left")
    return {"selected": winners["word"].to_arrow().cast(pa.string())}
