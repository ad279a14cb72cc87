"""The rows in quarantine, as a listing with their stages and reasons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pairkit.errors import InputError
from pairkit.view.columns import Codes
from pairkit.view.facets import values_of
from pairkit.view.files.shards import Shard
from pairkit.view.listing import Listing, begins_of, shared_facets

FACETS = {"stage": "stage", "reason": "reason"}
SEARCHED = ("set_id", "reason", "detail", "row")
SHOWN = 200  # characters of a row and of a detail in a list


def listed_quarantine(shards: Sequence[Shard]) -> tuple[Listing, list[dict[str, str]]]:
    """Read stages and reasons; return the listing, and the files that cannot be read with the reason."""
    problems, good = [], []
    codes = {name: Codes() for name in FACETS}
    numbers: dict[str, list[Any]] = {name: [np.empty(0, np.int64)] for name in FACETS}
    for shard in shards:
        try:
            tables = list(shard.tables(range(shard.groups), tuple(FACETS), tuple(FACETS)))
        except InputError as error:
            problems.append({"file": shard.label, "message": str(error)})
            continue
        good.append(shard)
        for name in FACETS:
            numbers[name] += [codes[name].of(chunk) for table in tables for chunk in table[name].chunks]
    rows = np.arange(int(begins_of(good)[-1]))
    facets = shared_facets(good)
    for name, label in FACETS.items():
        codes_of_rows = np.concatenate(numbers[name])
        facets[name] = values_of(label, len(rows), list(codes[name].numbers), codes_of_rows, rows)
    return Listing(good, facets), problems


def quarantined(listing: Listing, row: int) -> dict[str, Any]:
    """Return everything of a row in quarantine. Raises `InputError` where its file cannot be read."""
    (file,), (place,) = listing.places(np.array([row]))
    shard = listing.shards[file]
    names = ("stage", "set_id", "reason", "detail", "row")
    content: dict[str, Any] = shard.at([int(place)], names).to_pylist()[0]
    return {**content, "segment": shard.segment or None}
