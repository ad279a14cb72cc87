"""Several built datasets as one: their sets, mixed by weight in an order that the seed decides."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import PositiveFloat, model_validator

from pairkit import mixture
from pairkit.dataset import reader
from pairkit.dataset.reader import ROWS, BuiltData
from pairkit.dataset.remote import on_hub
from pairkit.errors import InputError, RecipeError
from pairkit.mixture import Order, Part
from pairkit.recipes import Name, Strict
from pairkit.schema import short_hash

_WEIGHTED = re.compile(r"(?P<data>.+):(?P<weight>[+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)", re.DOTALL)


def written(entry: Any) -> Any:
    """Return a dataset that is written as `DIR` or `DIR:WEIGHT` as a mapping, anything else as it is."""
    if not isinstance(entry, str):
        return entry
    match = None if os.path.exists(entry) else _WEIGHTED.fullmatch(entry)
    return {"data": entry} if match is None else match.groupdict()


class MixedPart(Strict):
    """A dataset of a mixture, or `DIR:WEIGHT`.

    data    a directory that `pairkit build` wrote, or org/name on the hub.
    weight  its share of the mixture, for all datasets or for none; null: all of its sets.
    name    null: the directory's name. Each dataset needs another one.
    """

    data: str
    weight: PositiveFloat | None = None
    name: Name | None = None

    @model_validator(mode="before")
    @classmethod
    def _written(cls, content: Any) -> Any:
        return written(content)

    @property
    def title(self) -> str:
        """The name of the dataset in the mixture."""
        return self.name or self.data.rstrip("/").rsplit("/", 1)[-1]


Data = str | tuple[MixedPart, ...]


def check_parts(parts: Sequence[MixedPart]) -> None:
    """Raise `ValueError` for datasets of one name, and for weights of some of them only."""
    if not parts:
        raise ValueError("recipe key 'data': names no dataset")
    example = "data='[{data: DIR, name: NAME, weight: 1}, ...]'"
    mixture.check_names("data", parts, f"give each a name, as in {example}")
    slash = next((part.title for part in parts if "/" in part.title), None)
    if slash:
        # Names of files begin with that of their dataset, and end where a slash is.
        raise ValueError(f"recipe key 'data': the name {slash!r} has a slash: leave it out")


def title_of(data: Any) -> str:
    """Return the name of what is trained on, of a recipe's field `data` or of its plain value."""
    if isinstance(data, str):
        return data.rstrip("/").rsplit("/", 1)[-1]
    parts = [part if isinstance(part, MixedPart) else MixedPart.model_validate(part) for part in data]
    return "+".join(part.title for part in parts)


def parts_of(data: Any) -> dict[str, MixedPart]:
    """Return the datasets of the plain value of a recipe's field `data`, by title.

    Raises `ValueError` or `TypeError` for another value.
    """
    if not isinstance(data, (str, list, tuple)):
        raise TypeError(f"{type(data).__name__} is no dataset, and no list of some")
    parts = map(MixedPart.model_validate, [data] if isinstance(data, str) else data)
    return {part.title: part for part in parts}


def mixture_differences(before: Any, now: Any) -> list[str]:
    """Describe how the plain value of a recipe's field `data` differs from an earlier one; one is a list.

    Nothing for two single datasets, which are compared as any other field.
    """
    if isinstance(before, str) and isinstance(now, str):
        return []
    theirs, ours = map(parts_of, (before, now))
    lines = [f"data: {name} is not one of the datasets any more" for name in theirs if name not in ours]
    lines += [f"data: {name} was not one of the datasets" for name in ours if name not in theirs]
    for name, part in ours.items():
        if name not in theirs:
            continue
        if part.data != theirs[name].data:
            lines.append(f"data: {name} is {part.data!r}, was {theirs[name].data!r}")
        if part.weight != theirs[name].weight:
            weights = (
                "no weight" if weight is None else f"weight {weight:g}"
                for weight in (part.weight, theirs[name].weight)
            )
            lines.append(f"data: {name} has {', had '.join(weights)}")
    return lines or ["data: the datasets come in another order"] * (list(theirs) != list(ours))


@dataclass(frozen=True)
class MixedData:
    """Several built datasets with the methods of one, see `BuiltData`.

    A split has the sets of all datasets that have it. Names of files begin with that of their dataset.
    """

    parts: tuple[tuple[MixedPart, BuiltData], ...]
    seed: int
    _with_split: dict[str, list[tuple[MixedPart, BuiltData]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def folder(self) -> str:
        """The directories, for messages."""
        return " + ".join(str(data.folder) for _, data in self.parts)

    @cached_property
    def digest(self) -> str:
        """A hash of the manifests, with names and weights."""
        return short_hash([[part.title, part.weight, data.digest] for part, data in self.parts])

    @property
    def splits(self) -> list[str]:
        return sorted({split for _, data in self.parts for split in data.splits})

    def rows(self, split: str) -> int:
        return len(self.order(split))

    def files(self, *splits: str) -> list[Path]:
        return [path for _, data in self.parts for path in data.files(*splits)]

    def hashes(self, *splits: str) -> dict[str, str]:
        return {
            f"{part.title}/{name}": digest
            for part, data in self.parts
            for name, digest in data.hashes(*splits).items()
        }

    def changed(self, hashes: Mapping[str, str], *splits: str) -> list[str]:
        problems = []
        for part, data in self.parts:
            prefix = f"{part.title}/"
            own = {name.removeprefix(prefix): h for name, h in hashes.items() if name.startswith(prefix)}
            problems += [f"{prefix}{problem}" for problem in data.changed(own, *splits)]
        return problems

    def held(self, split: str) -> frozenset[str]:
        return frozenset().union(*(data.held(split) for _, data in self._having(split)))

    def order(self, split: str) -> Order:
        """Return which set of which dataset comes when, by the places in `parts` of those with the split."""
        having = self._having(split)
        if not having:
            return Order(np.empty(0, np.int64), np.empty(0, np.int64))
        parts = [Part(part.title, data.rows(split), part.weight) for part, data in having]
        return mixture.order(parts, self.seed)

    def mixed(self, split: str) -> list[Any]:
        """Return what the order of a split depends on besides the content of its files."""
        return [self.seed, [[part.title, part.weight] for part, _ in self._having(split)]]

    def tables(self, split: str, limit: int | None = None) -> Iterator[pa.Table]:
        """Read the first `limit` sets of the mixture (None = all): see `BuiltData.tables`."""
        self.require(split)
        if limit is not None and limit < 1:
            raise RecipeError(f"limit {limit}: must be at least 1; None reads every set")
        return self._tables(split, limit)

    def _tables(self, split: str, limit: int | None) -> Iterator[pa.Table]:
        order = self.order(split)
        count = min(len(order), len(order) if limit is None else limit)
        with closing(_Sets([data for _, data in self._having(split)], split)) as sets:
            for begin in range(0, count, ROWS):
                part, row = (each[begin : min(begin + ROWS, count)] for each in order)
                # Those alone that have a set here: there may be thousands of others.
                pool = pa.concat_tables([sets.take(int(n), row[part == n]) for n in np.unique(part)])
                # A stable sort of the parts lists the sets as `pool` has them; its inverse puts them in
                # order.
                places = np.empty(len(part), np.int64)
                places[np.argsort(part, kind="stable")] = np.arange(len(part))
                yield pool.take(pa.array(places))

    def shared_prompts(self, split: str, other: str) -> int:
        """Count the distinct prompts of a split that another split has too, in any of the datasets."""
        first, second = (
            {name for table in self._columns(each, ["prompt_id"]) for name in table["prompt_id"].to_pylist()}
            for each in (split, other)
        )
        return len(first & second)

    def _columns(self, split: str, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        for path in self.files(split):
            with pq.ParquetFile(path) as file:
                yield from file.iter_batches(columns=list(names))

    def texts(self, split: str, limit: int | None) -> Iterator[str]:
        for table in self.tables(split, limit):
            yield from reader.texts_of(table)

    @property
    def rejected(self) -> Any:
        """How the recipes choose rejected completions, "policy" where they differ."""
        choices = {data.rejected for _, data in self.parts}
        return choices.pop() if len(choices) == 1 else "policy"

    def require(self, split: str) -> None:
        """Raise `InputError` if no dataset has the split."""
        if not self._having(split):
            raise InputError(f"{self.folder}: no dataset has sets in the split {split!r}")

    def _having(self, split: str) -> list[tuple[MixedPart, BuiltData]]:
        # Once: it reads the footers of all files.
        if split not in self._with_split:
            self._with_split[split] = [(part, data) for part, data in self.parts if data.rows(split)]
        return self._with_split[split]


class _Sets:
    """Sets of several datasets by their numbers, which ascend from call to call within each of them."""

    def __init__(self, datasets: Sequence[BuiltData], split: str) -> None:
        self._streams = mixture.Streams(lambda part, batch: datasets[part].batches(split, batch))
        self._starts = [data.starts(split) for data in datasets]
        # Of each dataset, the number of the batch that was read last, and its sets.
        self._last: dict[int, tuple[int, pa.Table]] = {}

    def take(self, part: int, rows: mixture.Rows) -> pa.Table:
        starts, pieces = self._starts[part], []
        while len(rows):
            batch = int(np.searchsorted(starts, rows[0], side="right")) - 1
            begin, end = starts[batch : batch + 2]
            inside = int(np.searchsorted(rows, end))
            pieces.append(self._batch(part, batch).take(pa.array(rows[:inside] - begin)))
            if rows[inside - 1] == end - 1:  # its last set: it need not be held any longer
                del self._last[part]
            rows = rows[inside:]
        return pa.concat_tables(pieces)

    def close(self) -> None:
        self._streams.close_all()

    def _batch(self, part: int, number: int) -> pa.Table:
        last, table = self._last.get(part, (-1, None))
        if table is None or last != number:
            table = self._streams.item(part, number)
            assert table is not None  # counted by the footers
            self._last[part] = number, table
            if number + 2 == len(self._starts[part]):
                self._streams.close(part)
        return table


def open_data(data: Data, split: str, seed: int) -> BuiltData | MixedData:
    """Open what a training recipe names: a dataset or several, in directories or on the hub.

    The split is that which is trained on: every dataset must have it. Raises `InputError` and `HubError`.
    """
    if isinstance(data, str):
        return reader.open_data(str(on_hub.folder_of(data)), split)
    parts = [(part, reader.open_data(str(on_hub.folder_of(part.data)), split)) for part in data]
    return MixedData(tuple(parts), seed)
