"""The score of a panel: the mean of where its rankers place a completion in its set.

    score = mean over rankers and other completions of (1: placed above it, 1/2: level, 0: below)

Places and not scores, because rankers have scales of their own: ratings from 1 to 5, log-odds, steps. 1 is
first for all of them, 0 last for all. A completion that one of them has no score of gets none.

Reference: panels of judges in place of one, Verga et al. 2024, arXiv 2404.18796.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.rankers.named import keep_own_order, with_score
from pairkit.rankers.panel.agreement import count_agreement, key
from pairkit.schema import SETS, StageResult
from pairkit.sets import assemble, batches, completions, named_scores

NAME = "panel"
_DECIMALS = 9  # equal records must tie, and rounding errors must not decide


def check_panel(panel: Sequence[str], rankers: Sequence[str], scoring: Sequence[str]) -> None:
    """Raise a `ValueError` for a panel that is none of rankers with these names, of which `scoring` score."""
    where = "recipe key 'panel'"
    for name in panel:
        if name not in scoring:
            why = "adds no score of its own" if name in rankers else "is not one of the rankers"
            raise ValueError(f"{where}: {name!r} {why}: name two or more of {', '.join(scoring) or 'rank'}")
    if len(set(panel)) < 2 or len(set(panel)) < len(panel):
        raise ValueError(
            f"{where} must name at least two rankers, each once, got {', '.join(panel) or 'none'}"
        )
    # Counts are stored under the names of two rankers: a and b_c must not be taken for a_b and c.
    pairs = Counter(key(*pair, "same") for pair in combinations(panel, 2))
    if max(pairs.values()) > 1:
        raise ValueError(
            f"{where}: two pairs of {', '.join(panel)} have one name when joined by '_': give one of these "
            "rankers another name"
        )
    if NAME in rankers:
        raise ValueError(f"{where}: {NAME!r} is the name of the panel's score: give that ranker another name")


def add_panel(sets: pa.Table, *, names: Sequence[str]) -> StageResult:
    """Add the named score `panel` and count the agreement; `order` decides about rank and score later."""
    counts = Counter(count_agreement(pl.DataFrame(schema=dict.fromkeys(names, pl.Int8))))
    parts = []
    for batch in batches(sets):
        flat = completions(batch)
        owner = pc.list_parent_indices(batch["completions"]).to_numpy()
        frame = pl.DataFrame(
            {"set": owner, "row": np.arange(len(flat)), **{name: named_scores(flat, name) for name in names}},
            schema_overrides={"set": pl.Int64, "row": pl.Int64},
        ).fill_nan(None)
        pairs = _pairs(frame.drop_nulls(), names)
        counts.update(count_agreement(pairs.filter(pl.col("row") < pl.col("other")).select(names)))
        values = np.full(len(flat), np.nan)
        places = pairs.group_by("row").agg(place=(pl.mean_horizontal(*names).mean() + 1) / 2)
        values[places["row"].to_numpy()] = places["place"].to_numpy().round(_DECIMALS)
        scored_completions = with_score(flat, NAME, pa.array(values, pa.float64(), from_pandas=True))
        parts.append(assemble(batch, scored_completions, owner, np.arange(len(flat))))
    result = pa.Table.from_batches(parts, schema=SETS)
    return StageResult(keep_own_order(result, sets), counts=dict(counts))


def _pairs(frame: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Return a row per ordered pair of completions of a set: `row`, `other`, and the sign of each ranker."""
    return (
        frame.join(frame, on="set", suffix="_other")
        .filter(pl.col("row") != pl.col("row_other"))
        .select(
            "row",
            pl.col("row_other").alias("other"),
            *((pl.col(name) - pl.col(f"{name}_other")).sign().cast(pl.Int8).alias(name) for name in names),
        )
    )
