"""Values as rows write them: the answer that a verifier checks, and the group that rows are joined by."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pairkit.readers.json_text import json_objects
from pairkit.readers.written.raw_values import Place, Rest
from pairkit.sources.reading.columns import Columns


def named_answer(columns: Columns, name: str) -> Rest:
    """Return a column under the name by which a verifier finds the answer."""
    places = {} if columns.raw is None else {"answer": Place(columns.raw, name)}
    return Rest({"answer": columns.arrays[name]}, places)


def group_keys(columns: Columns, name: str) -> pa.Array:
    """Return a text per row that is the same where the group is; null where there is none.

    7 and 7.0 are one group, because which of them a column holds depends on its other rows.
    """
    keys = json_objects({"group": columns.arrays[name]}, columns.size)
    encoding = pc.if_else(pc.equal(keys, "{}"), None, keys).dictionary_encode()
    same = [_key(json.loads(text)["group"]) for text in encoding.dictionary.to_pylist()]
    return pa.array(same, pa.string()).take(encoding.indices)


def _key(value: Any) -> str:
    return json.dumps(_whole(value), ensure_ascii=False, sort_keys=True)


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: _whole(item) for name, item in value.items() if item is not None}
    return [_whole(item) for item in value] if isinstance(value, list) else value
