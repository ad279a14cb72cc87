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


class Columns:
    """The sets of a source, in its order, a value each."""

    def __init__(self) -> None:
        # A list per column, joined by `finish` one after the other, so that only one is there twice.
        self._parts: tuple[list[Any], ...] = ([], [], [], [], [], [])
        self.rows = 0

    def add(self, sets: pa.Table, leaving: Mask) -> None:
        """Add identified sets; those `leaving` have a verdict already."""
        ids, prompts = (ids_of(sets[name].to_pylist()) for name in ("set_id", "prompt_id"))
        for parts, values in zip(self._parts, (ids, prompts, *_completions(sets), leaving), strict=True):
            parts.append(values)
        self.rows += sets.num_rows

    def finish(self) -> None:
        """Join what was added; after it, the columns can be read."""
        kinds = (np.uint64, np.uint64, np.float32, np.int32, np.bool_, np.bool_)
        whole: list[Any] = []
        for parts, kind in zip(self._parts, kinds, strict=True):
            whole.append(np.concatenate([np.zeros(0, kind), *parts]))
            parts.clear()
        self.ids: Ids = whole[0]
        self.prompts: Ids = whole[1]
        self.margin: npt.NDArray[np.float32] = whole[2]
        self.count: npt.NDArray[np.int32] = whole[3]
        self.mergeable: Mask = whole[4]
        self.leaving: Mask = whole[5]

    def preferred(self, rows: Rows, keep: Keep) -> Rows:
        """Return rows in the order in which they are kept: the first one stays."""
        if keep == "first":
            return rows
        value = self.margin if keep == "best_margin" else self.count
        # Stable, so that of equal ones the first is preferred.
        return rows[np.argsort(-value[rows].astype(np.float64), kind="stable")]


def _completions(sets: pa.Table) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32], Mask]:
    """Return the margin of each set (-inf without two scores), its size, and whether it can be merged.

    Completions of two sets can be compared if all have a score; if none has a score or a rank, there is
    nothing to compare.
    """
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
                (pl.col("scored") | pl.col("bare")).fill_null(True),
            )
        )
    if not frames:
        return np.zeros(0, np.float32), np.zeros(0, np.int32), np.zeros(0, bool)
    whole = pl.concat(frames)
    return tuple(whole.to_series(place).to_numpy() for place in range(3))  # type: ignore[return-value]
