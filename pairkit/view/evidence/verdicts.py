"""The answers of judges: which sets have which kinds of verdicts, and the answers about one set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from pairkit.schema import VERDICTS
from pairkit.view.background import Reading
from pairkit.view.columns import Codes, Keys, keys_of
from pairkit.view.facets import Facet, values_of
from pairkit.view.files.shards import Shard
from pairkit.view.index import Index
from pairkit.view.lists import Positions

LABELS = {"protocol": "judge's protocol", "verdict": "judge's verdicts"}
PREFERENCE, TIE, RATING = "preference", "tie", "rating"
UNREADABLE, ORDER = "unreadable", "depends on the order"
_COLUMNS = ("set_id", "protocol", "aspect", "shown.list.element", "verdict")


class Verdicts:
    """Which sets a judge was asked about and what it said, read in the background.

    Attributes:
        reading: of the answers, in the background.
    """

    def __init__(self, index: Index, shards: Sequence[Shard]) -> None:
        self.shards = shards
        self._index = index
        self._codes = {name: Codes() for name in LABELS}
        self._pairs: dict[str, list[pl.DataFrame]] = {name: [] for name in LABELS}
        # Of each set the row groups, over all files, with its first and its last answer; -1 without any.
        self._first, self._last = (np.full(index.listing.size, -1, np.int32) for _ in range(2))
        self._facets: dict[str, Facet] = {}
        groups = np.cumsum([0, *(shard.groups for shard in shards)])
        self._begins: list[int] = groups[:-1].tolist()
        self.reading = Reading("verdicts", shards, self._read)

    def facets(self) -> dict[str, Facet]:
        """Return the facets of what is known so far; none of data without verdicts."""
        if self._facets or not self.shards:
            return self._facets
        done = self.reading.done
        facets: dict[str, Facet] = {}
        for name, label in LABELS.items():
            empty = pl.DataFrame(schema={"row": pl.Int64, "code": pl.Int32})
            pairs = pl.concat([empty, *self._pairs[name]]).unique().sort("row", "code")
            texts = list(self._codes[name].numbers)
            codes, rows = (pairs[column].to_numpy() for column in ("code", "row"))
            facets[name] = values_of(label, self._index.listing.size, texts, codes, rows)
        if done:
            self._facets = facets
        return facets

    def about(self, row: int, set_id: str, segment: str) -> list[dict[str, Any]]:
        """Return the answers about a set, in their order. Raises `InputError` for a file that is gone."""
        found: list[dict[str, Any]] = []
        for begin, shard in zip(self._begins, self.shards, strict=True):
            groups = range(shard.groups)
            # Once all is known, only where the set is.
            if self.reading.done:
                groups = range(
                    max(0, int(self._first[row]) - begin), min(shard.groups, int(self._last[row]) - begin + 1)
                )
                if self._first[row] < 0:
                    groups = range(0)
            if shard.segment == segment and len(groups):
                found += shard.matching("set_id", set_id, VERDICTS.names, groups)
        return found

    def _read(self, number: int, shard: Shard) -> Iterator[int]:
        lookup = _Lookup(self._index, shard.segment)
        tables = shard.tables(range(shard.groups), _COLUMNS, ("protocol",))
        for group, table in enumerate(tables, start=self._begins[number]):
            self._add(table, group, lookup)
            yield table.num_rows

    def _add(self, table: pa.Table, group: int, lookup: _Lookup) -> None:
        rows = lookup.rows(keys_of(table["set_id"]))
        known = rows >= 0  # other answers are about sets in quarantine
        frame = pl.DataFrame(
            {
                "row": rows,
                "protocol": pl.Series(table["protocol"].cast(pa.string()).combine_chunks()),
                "aspect": pl.Series(table["aspect"].combine_chunks()),
                "shown": pl.Series(table["shown"].combine_chunks()),
                "verdict": pl.Series(table["verdict"].combine_chunks()),
            }
        ).filter(pl.Series(known))
        mine = frame["row"].to_numpy()
        self._first[mine[self._first[mine] < 0]] = group
        self._last[mine] = group
        self._note("protocol", frame.select("row", text="protocol"))
        self._note("verdict", kinds(frame))

    def _note(self, name: str, pairs: pl.DataFrame) -> None:
        distinct = pairs.unique()
        codes = self._codes[name].of(distinct["text"].to_arrow().cast(pa.string()))
        self._pairs[name].append(distinct.select("row", code=pl.Series(codes)))


def kinds(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the kinds of verdicts of each set: columns `row` and `text`.

    Args:
        frame: answers, with the columns `row`, `protocol`, `aspect`, `shown` and `verdict`.
    """
    text = (
        pl.when(pl.col("verdict").is_null())
        .then(pl.lit(UNREADABLE))
        .when(pl.col("verdict") == "tie")
        .then(pl.lit(TIE))
        .when(pl.col("shown").list.len() == 1)
        .then(pl.lit(RATING))
        .otherwise(pl.lit(PREFERENCE))
    )
    each = frame.select("row", text=text)
    # The same completions, shown in another order, and another of them preferred.
    decided = frame.filter(pl.col("verdict").is_not_null() & (pl.col("verdict") != "tie")).with_columns(
        completions=pl.col("shown").list.sort().cast(pl.List(pl.String)).list.join(" "),
        winner=pl.col("verdict").str.extract(r"^(\d+)"),
        order=pl.col("shown").cast(pl.List(pl.String)).list.join(" "),
    )
    turned = (
        decided.group_by("row", "protocol", "aspect", "completions")
        .agg(pl.col("winner").n_unique(), pl.col("order").n_unique())
        .filter((pl.col("winner") > 1) & (pl.col("order") > 1))
        .select("row", text=pl.lit(ORDER))
    )
    return pl.concat([each, turned])


class _Lookup:
    """The rows of the sets of a segment, by the hashes of their ids."""

    def __init__(self, index: Index, segment: str) -> None:
        listing = index.listing
        ranges = [
            np.arange(begin, begin + shard.rows)
            for shard, begin in zip(listing.shards, listing.begins[:-1].tolist(), strict=True)
            if shard.segment == segment
        ]
        rows = np.concatenate([np.empty(0, np.int64), *ranges])
        order = np.argsort(index.keys[rows], kind="stable")
        self._rows: Positions = rows[order]
        self._keys: Keys = index.keys[self._rows]

    def rows(self, keys: Keys) -> Positions:
        """Return the row of each hash, -1 where no set has it."""
        if not len(self._keys):
            return np.full(len(keys), -1, np.int64)
        places = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return np.where(self._keys[places] == keys, self._rows[places], -1)
