"""How far an annotator agrees with everything else that orders the completions of the annotated sets.

A pair of completions of a set that the annotator has ordered is one comparison with each rank, score, named
score and judge's answer that there is about both. Only numbers of annotated sets are read, each set once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import polars as pl
import pyarrow as pa

from pairkit.rankers.human.annotation import Annotation
from pairkit.rankers.human.labels import as_columns
from pairkit.rankers.panel.agreement import KINDS, count_agreement, key, panel_alpha
from pairkit.view.annotating import LEAF, OfIds

# More completions than in any set that a person orders; pairs of a set grow with the square.
MOST = 256
RANK, SCORE = "rank", "score"
_NUMBERS = (
    "set_id",
    f"{LEAF}rank",
    f"{LEAF}score",
    f"{LEAF}scores.list.element.name",
    f"{LEAF}scores.list.element.value",
)
_ANNOTATOR = "annotator"
# What something else makes of a completion: higher is better. Only numbers of one question are comparable.
_VALUES = {
    "set_id": pl.String,
    "position": pl.Int64,
    "name": pl.String,
    "question": pl.Int64,
    "value": pl.Float64,
}
_OF_TEXTS = {**{name: kind for name, kind in _VALUES.items() if name != "position"}, "hash": pl.String}

# Returns the `VERDICTS` about the sets with these ids.
VerdictsOf = Callable[[Sequence[str]], pa.Table]


class Agreement:
    """The numbers of the annotated sets of a collection. Not for several threads at a time."""

    def __init__(self, of_ids: OfIds, verdicts_of: VerdictsOf) -> None:
        self._of_ids, self._verdicts_of = of_ids, verdicts_of
        self._read: set[str] = set()
        self._values = pl.DataFrame(schema=_VALUES)
        self._verdicts = pl.DataFrame(schema=_OF_TEXTS)

    def of(self, labels: Sequence[Annotation]) -> dict[str, Any]:
        """Compare the orders of labels, whose positions are those of the collection, with all else.

        Returns `sets` (with an order), `left_out` (of these, with more than `MOST` ordered completions) and
        `rankers`, each with `name`, `pairs` (that both have compared), `same` (the same one preferred, or
        level for both), `level` (of these, level for both), `one_level` (level for one of them only),
        `opposite`, and `alpha` (Krippendorff's; None where it is not defined).
        """
        columns = as_columns(labels)
        orders = columns.completions.drop_nulls("group").join(columns.sets, on="label")
        large = orders.group_by("set_id").len().filter(pl.col("len") > MOST)["set_id"]
        comparison = orders.filter(~pl.col("set_id").is_in(large.implode()))
        self._complete(comparison["set_id"].unique().to_list())
        own = ["set_id", "position", "hash", "group"]
        shared = ["set_id", "position", "name", "question", "value", "group"]
        frame = pl.concat(
            [
                self._values.join(comparison.select(own), on=["set_id", "position"]).select(shared),
                self._verdicts.join(comparison.select(own), on=["set_id", "hash"]).select(shared),
            ]
        )
        signs = _signs(frame)
        names = signs["name"].unique(maintain_order=True).to_list()
        return {
            "sets": orders["set_id"].n_unique(),
            "left_out": len(large),
            "rankers": [
                _described(name, signs.filter(pl.col("name") == name).drop("name"))
                for name in sorted(names, key=_place)
            ],
        }

    def _complete(self, set_ids: Sequence[str]) -> None:
        """Read the numbers of sets that were not read yet."""
        new = sorted(set(set_ids) - self._read)
        if new:
            self._values = pl.concat([self._values, _values(self._of_ids(new, _NUMBERS))])
            self._verdicts = pl.concat([self._verdicts, _of_verdicts(self._verdicts_of(new))])
            self._read |= set(new)


def _place(name: str) -> tuple[int, str]:
    """Sort the dataset's own order first, then scores, then the answers of judges."""
    return ((RANK, SCORE).index(name) if name in (RANK, SCORE) else 2 + (name.startswith(_PREFIX)), name)


def _signs(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a row per comparison: `name`, and which completion the annotator and the other prefer."""
    by = ["name", "set_id", "question"]
    return (
        frame.join(frame, on=by, suffix="_other")
        .filter(pl.col("position") < pl.col("position_other"))
        .select(
            "name",
            # The first group is the best one.
            (pl.col("group_other") - pl.col("group")).sign().cast(pl.Int8).alias(_ANNOTATOR),
            (pl.col("value") - pl.col("value_other")).sign().cast(pl.Int8).alias("other"),
        )
    )


def _described(name: str, signs: pl.DataFrame) -> dict[str, Any]:
    coders = (_ANNOTATOR, "other")
    counts = count_agreement(signs)
    same, level, one_level, opposite = (counts[key(*coders, kind)] for kind in KINDS)
    alpha = panel_alpha(coders, counts) if signs.height else math.nan
    return {
        "name": name,
        "pairs": signs.height,
        "same": same + level,
        "level": level,
        "one_level": one_level,
        "opposite": opposite,
        "alpha": None if math.isnan(alpha) else alpha,
    }


def _values(table: pa.Table) -> pl.DataFrame:
    """Return the ranks and scores of completions as rows of `_VALUES`."""
    flat = (
        pl.DataFrame(pl.from_arrow(table.select(["set_id", "completions"])))
        .explode("completions")
        .drop_nulls("completions")
        .with_columns(position=pl.int_range(pl.len()).over("set_id"))
        .unnest("completions")
    )
    entries_by_name = (
        flat.select("set_id", "position", "scores").explode("scores").drop_nulls("scores").unnest("scores")
    )
    parts = [
        # The other way round, because a lower rank is better.
        flat.select("set_id", "position", name=pl.lit(RANK), value=-pl.col("rank").cast(pl.Float64)),
        flat.select("set_id", "position", name=pl.lit(SCORE), value=pl.col("score").cast(pl.Float64)),
        entries_by_name.select("set_id", "position", "name", "value"),
    ]
    every = pl.concat(parts).with_columns(question=pl.lit(0, pl.Int64)).filter(pl.col("value").is_finite())
    return every.select(list(_VALUES)).cast(_VALUES)  # type: ignore[arg-type]


_PREFIX = "verdicts: "


def _of_verdicts(table: pa.Table) -> pl.DataFrame:
    """Return the answers of judges as rows of `_OF_TEXTS`; all ratings of a set are one question."""
    names = ["set_id", "protocol", "aspect", "shown", "texts", "verdict", "prompt_hash"]
    frame = pl.DataFrame(pl.from_arrow(table.select(names))).drop_nulls("verdict").with_row_index("question")
    # Not checked when it was read, and a text for each completion shown is what the rest relies on.
    frame = frame.filter(pl.col("shown").list.len() == pl.col("texts").list.len())
    prompts = pl.col("prompt_hash").n_unique().over("protocol", "aspect")
    frame = frame.with_columns(
        # Of two judges with one protocol, each has a prompt of its own.
        name=pl.lit(_PREFIX)
        + pl.concat_str("protocol", "aspect", separator=" ", ignore_nulls=True)
        + pl.when(prompts > 1)
        .then(pl.lit(" ") + pl.col("prompt_hash").str.slice(0, 6))
        .otherwise(pl.lit("")),
        question=pl.col("question").cast(pl.Int64),
    )
    single = pl.col("shown").list.len() == 1
    # Ratings are of one text each, and compared with those of the other texts of the set.
    ratings = (
        frame.filter(single)
        .select(
            "set_id",
            "name",
            hash=pl.col("texts").list.first(),
            value=pl.col("verdict").cast(pl.Float64, strict=False),
        )
        .group_by("set_id", "name", "hash", maintain_order=True)
        .agg(pl.col("value").mean())
        .with_columns(question=pl.lit(-1, pl.Int64))
    )
    orders = frame.filter(~single)
    texts = orders.select("question", "set_id", "name", "shown", "texts", "verdict").explode("shown", "texts")
    places = (
        orders.filter(pl.col("verdict") != "tie")
        .select("question", shown=pl.col("verdict").str.replace_all(">>", ">").str.split(">"))
        .explode("shown")
        .with_columns(
            pl.col("shown").cast(pl.Int32, strict=False),
            value=-pl.int_range(pl.len()).over("question").cast(pl.Float64),
        )
    )
    placed_texts = texts.join(places, on=["question", "shown"], how="left", maintain_order="left")
    # One that names no completion is no verdict.
    read = (pl.col("verdict") == "tie") | (pl.col("value").count().over("question") > 0)
    values = placed_texts.filter(read).with_columns(
        # Of a pair only the winner is named.
        value=pl.when(pl.col("verdict") == "tie").then(0.0).otherwise(pl.col("value").fill_null(-math.inf)),
        hash=pl.col("texts"),
    )
    columns = list(_OF_TEXTS)
    return pl.concat([ratings.select(columns), values.select(columns)]).cast(_OF_TEXTS)  # type: ignore[arg-type]
