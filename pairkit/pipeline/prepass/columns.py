"""What the prepass holds of each set of a source besides its signature: numbers, 30 bytes in all."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from pairkit.pipeline.prepass.keep_list import Ids, ids_of
from pairkit.pipeline.prepass.near_duplicates import Rows
from pairkit.pipeline.prepass.settings import Keep
from pairkit.sets import batches, completions, numbers

Mask = npt.NDArray[np.bool_]
# What the completions of a set have: all a score; ranks, or scores of some; neither. Or there are none.
SCORED, RANKED, BARE, EMPTY = range(4)


class Columns:
    """The sets of a source, in its order, a value each."""

    def __init__(self) -> None:
        # A list per column, joined by `finish` one after the other, so that only one is there twice.
        self._parts: tuple[list[Any], ...] = ([], [], [], [], [], [], [])
        self._sources: dict[str, int] = {}
        self.rows = 0

    def add(self, sets: pa.Table, leaving: Mask) -> None:
        """Add identified sets; those `leaving` have a verdict already."""
        ids, prompts = (ids_of(sets[name].to_pylist()) for name in ("set_id", "prompt_id"))
        own = (ids, prompts, *_completions(sets), leaving, self._numbered(sets["source"]))
        for parts, values in zip(self._parts, own, strict=True):
            parts.append(values)
        self.rows += sets.num_rows

    def finish(self) -> None:
        """Join what was added; after it, the columns can be read."""
        kinds = (np.uint64, np.uint64, np.float32, np.int32, np.int8, np.bool_, np.int32)
        whole: list[Any] = []
        for parts, kind in zip(self._parts, kinds, strict=True):
            whole.append(np.concatenate([np.zeros(0, kind), *parts]))
            parts.clear()
        self.ids: Ids = whole[0]
        self.prompts: Ids = whole[1]
        self.margin: npt.NDArray[np.float32] = whole[2]
        self.count: npt.NDArray[np.int32] = whole[3]
        self.has: npt.NDArray[np.int8] = whole[4]
        self.leaving: Mask = whole[5]
        self.source: npt.NDArray[np.int32] = whole[6]

    def preferred(self, rows: Rows, keep: Keep) -> Rows:
        """Return rows in the order in which they are kept: the first one stays."""
        if keep == "first":
            return rows
        value = self._comparable_margin() if keep == "best_margin" else self.count
        # Stable, so that of equal ones the first is preferred.
        return rows[np.argsort(-value[rows].astype(np.float64), kind="stable")]

    def _numbered(self, names: pa.ChunkedArray) -> npt.NDArray[np.int32]:
        """Return a number per source name."""
        coded = names.combine_chunks().dictionary_encode()
        own = [self._sources.setdefault(name, len(self._sources)) for name in coded.dictionary.to_pylist()]
        numbers: npt.NDArray[np.int32] = np.asarray(own, np.int32)[coded.indices.to_numpy()]
        return numbers

    def _comparable_margin(self) -> npt.NDArray[np.floating[Any]]:
        """Return the margins of one source; of several, the share of its source's that each is not below.

        Scores of two sources have two scales, so that a margin of 2 may be all or nothing.
        """
        if len(self._sources) < 2:
            return self.margin
        # -inf, of sets without a margin, is in order with the margins of no source.
        scored = np.flatnonzero(np.isfinite(self.margin))
        margin, source = self.margin[scored], self.source[scored]
        order = np.lexsort((margin, source))
        margin, source = margin[order], source[order]
        begin, end = np.searchsorted(source, source, "left"), np.searchsorted(source, source, "right")
        last = np.ones(len(order), np.bool_)  # of its source and margin
        last[:-1] = (margin[1:] != margin[:-1]) | (source[1:] != source[:-1])
        # Equal margins have the place of the last of them.
        places = np.flatnonzero(last)[np.cumsum(last) - last] + 1
        shares = np.full(self.rows, -np.inf)
        shares[scored[order]] = (places - begin) / (end - begin)
        return shares


def _completions(
    sets: pa.Table,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32], npt.NDArray[np.int8]]:
    """Return the margin of each set (-inf without two scores), its size, and what its completions have."""
    frames = []
    for batch in batches(sets):
        score = pl.col("score").fill_nan(None)
        frame = (
            numbers(batch, completions(batch))
            .group_by("set")
            .agg(
                margin=score.max() - score.min(),
                scored=score.is_not_null().all(),
                bare=(score.is_null() & pl.col("rank").is_null()).all(),
                count=pl.len().cast(pl.Int32),
                scores=score.count(),
            )
        )
        rows = pl.DataFrame({"set": pl.int_range(batch.num_rows, eager=True)})
        frame = rows.join(frame, on="set", how="left", maintain_order="left")
        frames.append(
            frame.select(
                pl.when(pl.col("scores") > 1).then("margin").fill_null(-np.inf).cast(pl.Float32),
                pl.col("count").fill_null(0),
                pl.when(pl.col("count").is_null())
                .then(EMPTY)
                .when("scored")
                .then(SCORED)
                .when("bare")
                .then(BARE)
                .otherwise(RANKED)
                .cast(pl.Int8),
            )
        )
    if not frames:
        return np.zeros(0, np.float32), np.zeros(0, np.int32), np.zeros(0, np.int8)
    whole = pl.concat(frames)
    return tuple(whole.to_series(place).to_numpy() for place in range(3))  # type: ignore[return-value]
