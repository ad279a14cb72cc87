"""Candidate sets whose completions are ordered already: a built dataset, files in any layout, or the hub."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa

from pairkit.dataset import reader
from pairkit.errors import InputError, RecipeError
from pairkit.rankers.annotations import rank
from pairkit.schema import MANIFEST, QUARANTINE, SETS, Occurrences, identify
from pairkit.sets import assemble, batches, completions, numbers
from pairkit.sources import SourceRecipe, open_source
from pairkit.sources.reading.locate import is_path, refuse_own_files, refuse_own_output

# Why a set shows nothing about an order.
ALONE, UNRANKED, EQUAL = "one_completion", "no_ranks", "one_rank"
_WHY = {
    ALONE: "it has fewer than two completions",
    UNRANKED: "fewer than two of its completions have a rank or a score",
    EQUAL: "all of its completions have the same rank",
}
_DETAILS = 20
_BUILT = "source", "layout", "map"


class Place(NamedTuple):
    """Where the sets are: the words of a command.

    Attributes:
        data: a built dataset, a file, folder or glob, or the id of a dataset on the hub.
        source: the source that reads a file; None: "files".
        split: of a dataset; None: `test` of a built one, the source's first of another one.
        limit: the sets of a built dataset, or raw rows of files.
        map, layout: as in `SourceRecipe`.
    """

    data: str
    source: str | None = None
    split: str | None = None
    limit: int | None = None
    map: Mapping[str, Any] | None = None
    layout: str | None = None


class RankedData(NamedTuple):
    """Sets of two completions or more that are not all of one rank.

    Attributes:
        sets: a `SETS` table, the ranked completions of each set alone, best first.
        subsets: the subset of each set, or None.
        left_out: the other sets and rows, by reason.
        details: of the first of these, where and why.
        about: file, sha256, split and rows, for results.
    """

    sets: pa.Table
    subsets: list[str | None]
    left_out: Counter[str]
    details: list[str]
    about: dict[str, Any]


def read_data(place: Place, out: Path, subset: str | None = None) -> RankedData:
    """Read the sets at a place, of which the output directory `out` is no part.

    Raises `InputError` for what cannot be read or has no set with an order, `RecipeError` for an option that
    the data does not have, and `HubError`.
    """
    about: dict[str, Any] = {}
    left_out: Counter[str] = Counter()
    details: list[str] = []
    tables = [SETS.empty_table()]
    for sets, quarantine in _tables(place, out, about):
        left_out.update(quarantine["reason"].to_pylist())
        details += quarantine["detail"].to_pylist()[: _DETAILS - len(details)]
        for batch in batches(rank(sets)):
            usable_sets, problems = _comparable(batch)
            tables.append(pa.Table.from_batches([usable_sets]))
            left_out.update(problems.values())
            ids = batch["set_id"].to_pylist()
            messages = [f"set {ids[row]}: {_WHY[reason]}" for row, reason in problems.items()]
            details += messages[: _DETAILS - len(details)]
    sets = pa.concat_tables(tables)
    if not sets.num_rows:
        counts = ", ".join(f"{count:,} {reason}" for reason, count in left_out.items()) or "it has no rows"
        first = f"; the first: {details[0]}" if details else ""
        raise InputError(
            f"{place.data}: no set has two completions of different rank ({counts}){first}; a ranker is "
            "measured on data that states which completion is better: with ranks, scores, or a choice"
        )
    return RankedData(sets, _subsets(sets["metadata"].to_pylist(), subset, place), left_out, details, about)


def _tables(place: Place, out: Path, about: dict[str, Any]) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Yield sets with ids, and the quarantine of rows; fill `about`."""
    if (Path(place.data) / MANIFEST).is_file():
        return _built(place, about)
    return _from_source(place, out, about)


def _built(place: Place, about: dict[str, Any]) -> Iterator[tuple[pa.Table, pa.Table]]:
    for option in _BUILT:
        if getattr(place, option):
            raise RecipeError(
                f"{place.data}: --{option} is for files, and this is a built dataset: leave it out"
            )
    split = place.split or "test"
    data = reader.load(place.data)
    if place.split is None and split not in data.splits:
        raise InputError(f"{place.data}: no split {split!r}; name one with --split: {', '.join(data.splits)}")
    data.require(split)
    about |= {
        "file": Path(place.data).resolve().name,
        "sha256": data.digest,
        "split": split,
        "rows": min(data.rows(split), place.limit or data.rows(split)),
    }
    for table in data.tables(split, place.limit):
        yield table, QUARANTINE.empty_table()


def _from_source(place: Place, out: Path, about: dict[str, Any]) -> Iterator[tuple[pa.Table, pa.Table]]:
    on_disk = is_path(place.data) or place.source is not None or "*" in place.data
    if not on_disk and "/" not in place.data:
        raise InputError(
            f"{place.data}: no such file or folder, and no id of a dataset on the hub (org/name)"
        )
    if on_disk:
        refuse_own_output(place.data, out)
    recipe = SourceRecipe(
        name=(place.source or "files") if on_disk else place.data,
        path=place.data if on_disk else None,
        split=place.split,
        config=None,
        revision=None,
        limit=place.limit,
        layout=place.layout,
        map=dict(place.map or {}),
        score=None,
    )
    dataset = open_source(recipe)
    refuse_own_files(dataset.files, out)
    about |= {
        # Its name only, because the folders of a machine tell a reader nothing.
        "file": Path(place.data).name if on_disk else place.data,
        "sha256": dataset.fingerprint,
        "split": place.split,
        "source": dataset.source.name,
        "layout": sorted({reading.layout for reading in dataset.readings.values() if reading.layout}),
        "rows": 0,
    }
    occurrences = Occurrences()
    for batch in dataset.batches():
        about["rows"] += batch.counts["rows"]
        yield identify(batch.sets, occurrences), batch.quarantine


def _comparable(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, dict[int, str]]:
    """Return the sets with an order, without noise and unranked completions, and why others have none."""
    flat = completions(batch)
    frame = numbers(batch, flat)
    real = frame.filter(~pl.col("noise"))
    # Noise was made worse on purpose, and what has no rank cannot be compared.
    ranked_rows = real.filter(pl.col("rank").is_not_null())
    of_set = ranked_rows.group_by("set").agg(pl.len(), pl.col("rank").n_unique().alias("ranks"))
    alone = _counts(real.group_by("set").agg(pl.len()), "len", batch.num_rows) < 2
    unranked = _counts(of_set, "len", batch.num_rows) < 2
    equal = _counts(of_set, "ranks", batch.num_rows) < 2
    problems = {
        row: ALONE if alone[row] else UNRANKED if unranked[row] else EQUAL
        for row in np.flatnonzero(alone | unranked | equal).tolist()
    }
    stays = np.ones(batch.num_rows, dtype=bool)
    stays[list(problems)] = False
    kept_rows = ranked_rows.filter(pl.Series(stays)[ranked_rows["set"]])
    return assemble(batch, flat, kept_rows["set"].to_numpy(), kept_rows["row"].to_numpy(), stays), problems


def _counts(frame: pl.DataFrame, column: str, sets: int) -> np.ndarray:
    counts = np.zeros(sets, dtype=np.int64)
    counts[frame["set"].to_numpy()] = frame[column].to_numpy()
    return counts


def _subsets(metadata: list[str | None], field: str | None, place: Place) -> list[str | None]:
    """Return the subset of each set. Raises `InputError` for a `field` that no set has."""
    rows = [json.loads(text or "{}") for text in metadata]
    for name in [field] if field else ["subset", "category"]:
        subsets = [None if row.get(name) is None else _text(row[name]) for row in rows]
        if any(value is not None for value in subsets):
            return subsets
    if field:
        names = sorted({name for row in rows for name in row})
        raise InputError(
            f"{place.data}: no set has {field!r} in its metadata (it has: {', '.join(names) or 'nothing'}); "
            "choose another --subset"
        )
    return [None] * len(rows)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
