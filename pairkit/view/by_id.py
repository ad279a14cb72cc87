"""Sets and verdicts of a collection by the ids of sets: what labels are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.schema import SETS, VERDICTS
from pairkit.view.collection import Collection
from pairkit.view.columns import keys_of


def rows_of(collection: Collection, set_ids: Sequence[str]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the rows that may be those of some sets: their ids have the same hashes."""
    return np.flatnonzero(np.isin(collection.index.keys, keys_of(pa.array(set_ids, pa.string()))))


def sets_of_ids(collection: Collection, set_ids: Sequence[str], columns: Sequence[str]) -> pa.Table:
    """Read leaf columns, `set_id` among them, of some sets; ids of no set are left out.

    Raises `InputError` for a file that cannot be read any more.
    """
    listing = collection.index.listing
    rows = rows_of(collection, set_ids)
    files, places = listing.places(rows)
    names = list(dict.fromkeys(name.split(".")[0] for name in columns))
    parts = [pa.schema([SETS.field(name) for name in names]).empty_table()] if not len(rows) else []
    parts += [
        listing.shards[file].at(places[files == file].tolist(), columns) for file in np.unique(files).tolist()
    ]
    table = pa.concat_tables(parts)
    # The hashes of two ids may be the same.
    return table.filter(pc.is_in(table["set_id"], pa.array(set_ids, pa.string())))


def verdicts_of_ids(collection: Collection, set_ids: Sequence[str]) -> pa.Table:
    """Read the verdicts about some sets. Raises `InputError` for a file that cannot be read any more."""
    # Found together, because each search goes through the keys of all sets.
    rows = rows_of(collection, set_ids).tolist()
    names = dict(zip(keys_of(pa.array(set_ids, pa.string())).tolist(), set_ids, strict=True))
    owners = [(row, names[collection.index.keys[row].item()]) for row in rows]
    return pa.Table.from_pylist(
        [each for row, set_id in owners for each in collection.verdicts.about(row, set_id, "")], VERDICTS
    )
