"""The small leaf columns of sets as arrays: one entry per completion, and the offsets of the sets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import flatten
from pairkit.intervals import Floats
from pairkit.view.files.shards import Shard
from pairkit.view.lists import Positions

LEAF = "completions.list.element."
_NAME, _VALUE = (f"{LEAF}scores.list.element.{part}" for part in ("name", "value"))
_OF_COMPLETIONS = ("model", "origin", "finish_reason")
_ENCODED = ("source", *(f"{LEAF}{name}" for name in _OF_COMPLETIONS), _NAME)
_OWN = ("rank", "score")
COLUMNS = ("set_id", *_ENCODED, f"{LEAF}rank", f"{LEAF}score", _VALUE)
Keys = npt.NDArray[np.uint64]
Numbered = npt.NDArray[np.int32]


class Codes:
    """Numbers for texts, in the order in which they come."""

    def __init__(self) -> None:
        self.numbers: dict[str | None, int] = {}

    def of(self, texts: pa.Array) -> Numbered:
        """Return the number of each text, null among them."""
        encoded = texts if pa.types.is_dictionary(texts.type) else texts.dictionary_encode()
        table = [self.number(text) for text in encoded.dictionary.to_pylist()]
        indices = encoded.indices
        if indices.null_count:
            # The last entry, which the index -1 takes.
            table.append(self.number(None))
            indices = pc.fill_null(indices, -1)
        numbers: Numbered = np.array(table or [0], np.int32)[indices.to_numpy()]
        return numbers

    def number(self, text: str | None) -> int:
        """Return the number of a text."""
        return self.numbers.setdefault(text, len(self.numbers))


class Columns(NamedTuple):
    """The numbers of N completions of B sets; NaN is what is null or not finite. What was not read is empty.

    Attributes:
        keys: a hash of each set's id, [B].
        cuts: where each set's completions begin, [B + 1].
        rank, score: [N].
        values: numbers of texts, of "source" [B], of the other columns [N].
        codes: the texts of these numbers, and of the names of scores.
        sizes: how many named scores each completion has, [N].
        names, scores: the number of the name and the value of all named scores.
    """

    keys: Keys
    cuts: Positions
    rank: Floats
    score: Floats
    values: Mapping[str, Numbered]
    codes: Mapping[str, Codes]
    sizes: npt.NDArray[np.int64]
    names: Numbered
    scores: Floats

    def named(self) -> Iterator[tuple[str, Floats]]:
        """Yield the values of each named score, [N]; NaN where a completion has none."""
        alike = self._alike()
        entries = np.empty(0, np.int64) if alike else np.repeat(np.arange(len(self.sizes)), self.sizes)
        for name, number in self.codes["name"].numbers.items():
            if name is None:
                continue
            if alike:
                yield name, np.ascontiguousarray(self.scores.reshape(-1, len(alike))[:, alike.index(number)])
                continue
            mine = np.flatnonzero(self.names == number)
            values = np.full(int(self.cuts[-1]), np.nan)
            values[entries[mine]] = self.scores[mine]
            yield name, values

    def _alike(self) -> list[int]:
        """Return the numbers of the names where all completions have the same, in one order; [] elsewhere."""
        count = int(self.sizes[0]) if len(self.sizes) else 0
        first: list[int] = self.names[:count].tolist()
        if not count or len({*first}) < count or set(first) != set(self.codes["name"].numbers.values()):
            return []
        same = (self.sizes == count).all() and (self.names.reshape(-1, count) == self.names[:count]).all()
        return first if same else []


def columns_of(scores: Iterable[str]) -> tuple[str, ...]:
    """Return the leaf columns of some scores of completions: "rank", "score", and named ones."""
    names = set(scores)
    own = tuple(f"{LEAF}{name}" for name in _OWN if name in names)
    return (*own, _NAME, _VALUE) if names - set(_OWN) else own


def read_columns(shard: Shard, groups: Iterable[int], columns: Sequence[str] = COLUMNS) -> Columns:
    """Read leaf columns of some row groups; without those that are not asked for. Raises `InputError`."""
    codes = {name: Codes() for name in ("source", "name", *_OF_COMPLETIONS)}
    parts: dict[str, list[npt.NDArray[Any]]] = {}

    def add(name: str, values: npt.NDArray[Any]) -> None:
        parts.setdefault(name, []).append(values)

    ids = []
    for table in _joined(shard.tables(groups, columns, _ENCODED)):
        if "set_id" in columns:
            ids += table["set_id"].cast(pa.string()).chunks
            add("source", codes["source"].of(_whole(table["source"])))
        cuts, flat = flatten(_whole(table["completions"]))
        add("sizes", np.diff(cuts))
        for name in _OF_COMPLETIONS:
            if f"{LEAF}{name}" in columns:
                add(name, codes[name].of(pc.struct_field(flat, name)))
        for name in _OWN:
            if f"{LEAF}{name}" in columns:
                add(name, numbers_of(pc.struct_field(flat, name)))
        if _NAME not in columns:
            continue
        score_cuts, entries = flatten(pc.struct_field(flat, "scores"))
        add("scores", np.diff(score_cuts))
        add("name", codes["name"].of(pc.struct_field(entries, "name")))
        add("value", numbers_of(pc.struct_field(entries, "value")))

    def joined(name: str, kind: type[Any]) -> npt.NDArray[Any]:
        found = parts.get(name, [])
        # One part is not copied.
        return found[0] if len(found) == 1 else np.concatenate([np.empty(0, kind), *found])

    return Columns(
        keys_of(pa.chunked_array(ids, pa.string())),
        np.concatenate([[0], np.cumsum(joined("sizes", np.int64))]).astype(np.int64),
        joined("rank", np.float64),
        joined("score", np.float64),
        {name: joined(name, np.int32) for name in ("source", *_OF_COMPLETIONS)},
        codes,
        joined("scores", np.int64),
        joined("name", np.int32),
        joined("value", np.float64),
    )


def _joined(tables: Iterable[pa.Table]) -> list[pa.Table]:
    """Join row groups: fewer, larger steps, in which a thread does not wait for the others' Python."""
    some = [table for table in tables if table.num_rows]
    # Those that are too long for a dictionary have texts instead.
    alike = all(table.schema == some[0].schema for table in some)
    return [pa.concat_tables(some)] if some and alike else some


def keys_of(set_ids: pa.Array | pa.ChunkedArray) -> Keys:
    """Return a hash of each id, the same in all calls of a process."""
    ids = pl.from_arrow(set_ids)
    assert isinstance(ids, pl.Series)
    return ids.hash(0).to_numpy()


def numbers_of(values: pa.Array) -> Floats:
    """Return numbers as float64, NaN for what is null or not finite."""
    numbers: Floats = values.to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
    finite = np.isfinite(numbers)
    return numbers if finite.all() else np.where(finite, numbers, np.nan)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
