"""Columns of JSON of any shape: tools, tool calls, and arguments of a chat template.

They arrive as texts, or from Parquet as lists and structs, and are kept as JSON texts in OpenAI's form. Texts
are parsed one by one, because no columnar parser takes JSON of any shape; a text that repeats is parsed once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import is_list, is_text
from pairkit.json_depth import MAX_LEVELS, is_deep_text
from pairkit.readers.json_rows import loads
from pairkit.readers.written.exact_json import RepeatedKey
from pairkit.readers.written.json_fields import json_text
from pairkit.readers.written.typed_values import without_nulls
from pairkit.sources.reading.columns import Columns
from pairkit.sources.reading.literals import parse

_TOO_DEEP = f"nested more than {MAX_LEVELS} levels deep"
NOTHING = ("", "null", "none", "nan")
# From a parsed value to the form that is kept, None where there is nothing. Raises `ValueError` with what is
# wrong with the value.
Normal = Callable[[Any], Any]


def read_json(columns: Columns, name: str, normal: Normal) -> pa.Array:
    """Read a column of JSON as texts of the form that `normal` makes; report the values that have none."""
    if name not in columns:
        return pa.nulls(columns.size, pa.string())
    return normalized(columns, as_texts(columns, name), name, normal)


def as_texts(columns: Columns, name: str) -> pa.Array:
    """Return a column of texts, lists or structs as JSON texts; values of other types are `not_text`."""
    values = columns.arrays[name]
    if isinstance(values.type, pa.BaseExtensionType):  # the Json type of `datasets`
        values = values.storage
    if is_list(values.type) or pa.types.is_struct(values.type):
        # A Parquet file has one list of keys for all rows, so that those of other rows are null in this one.
        rows = [None if row is None else json_text(without_nulls(row)) for row in values.to_pylist()]
        return pa.array(rows, pa.string())
    if is_text(values.type):
        return values.cast(pa.string())
    return columns.text(name)


def normalized(columns: Columns, texts: pa.Array, name: str, normal: Normal) -> pa.Array:
    """Bring JSON texts of the column `name` into the form that `normal` makes, or report `invalid_json`."""
    encoding = texts.dictionary_encode()
    values: list[str | None] = []
    problems: list[str | None] = []
    for text in encoding.dictionary.to_pylist():
        value, problem = _normalized(text, normal)
        values.append(value)
        problems.append(problem)
    for problem in sorted({problem for problem in problems if problem}):
        bad = np.array([each == problem for each in problems] + [False])
        # A null has the index of the last entry, which is harmless.
        index = pc.fill_null(encoding.indices, len(problems)).to_numpy()
        columns.report(bad[index], "invalid_json", problem, name)
    return pa.array(values, pa.string()).take(encoding.indices)


def _normalized(text: str, normal: Normal) -> tuple[str | None, str | None]:
    if text.strip().lower() in NOTHING:
        return None, None
    if is_deep_text(text):
        return None, f"is {_TOO_DEEP}"
    try:
        value = parse(text)
    except RepeatedKey as error:
        return None, str(error)
    except ValueError:
        return None, "is not JSON"
    try:
        value = normal(value)
    except ValueError as error:
        return None, str(error)
    if not value:
        return None, None
    try:
        normal_text = json_text(value, strict=True)
    except ValueError:
        return None, "holds a value that is not JSON"
    # Again, because a text may have stood for JSON.
    return (None, f"is {_TOO_DEEP}") if is_deep_text(normal_text) else (normal_text, None)


def tools(value: Any) -> Any:
    """Bring tools into OpenAI's form: a list of `{"type": "function", "function": {...}}`."""
    return [_function(_parsed(item), "a tool") for item in _listed(value, "tools")]


def calls(value: Any) -> Any:
    """Bring tool calls into OpenAI's form; their arguments stay a text or an object, as they are written."""
    whole = [_function(_parsed(item), "a tool call") for item in _listed(value, "tool calls")]
    # Templates read the arguments, also of a call that has none.
    return [call | {"function": {**call["function"], "arguments": _arguments(call)}} for call in whole]


def arguments(value: Any) -> Any:
    """Check the arguments of a chat template, which are an object."""
    if value is not None and not isinstance(value, dict):
        raise ValueError("is not a JSON object")
    return value


def _listed(value: Any, what: str) -> list[Any]:
    items = [value] if isinstance(value, dict) and value else value or []
    if not isinstance(items, list):
        raise ValueError(f"is not a JSON list of {what}")
    return [item for item in items if item not in (None, {}, "")]


def _parsed(item: Any) -> Any:
    # Lists of texts, each the JSON of one tool, are how older versions of `datasets` keep them.
    if isinstance(item, str) and is_deep_text(item):
        raise ValueError(f"is {_TOO_DEEP}")
    try:
        return loads(item) if isinstance(item, str) else item
    except ValueError:
        return item


def _function(item: Any, what: str) -> dict[str, Any]:
    if isinstance(item, dict):
        if isinstance(item.get("name"), str):  # without the wrapping
            return {"type": "function", "function": item}
        function = item.get("function")
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            return item
    raise ValueError(f"holds {what} without the name of a function")


def _arguments(call: dict[str, Any]) -> Any:
    value = call["function"].get("arguments")
    if value is not None and not isinstance(value, str | dict):
        raise ValueError("holds a tool call whose arguments are neither an object nor a text")
    if isinstance(value, str) and is_deep_text(value):
        raise ValueError(f"holds a tool call whose arguments are {_TOO_DEEP}")
    return {} if value is None else value
