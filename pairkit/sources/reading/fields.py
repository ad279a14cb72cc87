"""The layout of a file's columns: given by `map`, or recognized by the names that datasets use."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa

from pairkit.arrow import interleave, is_json, is_text, present
from pairkit.errors import RecipeError, unknown
from pairkit.readers.json_fields import with_json_texts, with_parts
from pairkit.readers.json_rows import NOT_ARROW, loads
from pairkit.sources.reading.columns import Columns

# Field -> the names under which it is looked for without `map`; the first one in the file is used.
NAMES: Mapping[str, tuple[str, ...]] = {
    "prompt": ("prompt", "instruction", "question", "query"),
    "system": ("system", "system_prompt"),
    "messages": ("messages", "conversations", "conversation"),
    "chosen": ("chosen",),
    "rejected": ("rejected",),
    "score_chosen": ("score_chosen", "chosen_score", "chosen_rating"),
    "score_rejected": ("score_rejected", "rejected_score", "rejected_rating"),
    "completions": ("completions", "responses", "answers"),
    "scores": ("scores",),
    "ranks": ("ranks",),
    "models": ("models",),
    "completion": ("completion", "response", "output", "answer"),
    "label": ("label",),
    "score": ("score",),
    "model": ("model",),
    "tools": ("tools", "functions"),
    "chat_template_kwargs": ("chat_template_kwargs",),
}
# Optional in rows of every shape.
ALWAYS = ("system", "tools", "chat_template_kwargs")
# Shape of a row -> required and optional fields. The first shape whose required fields exist is used.
SHAPES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "pairs": (("chosen", "rejected"), ("prompt", "messages", "score_chosen", "score_rejected", *ALWAYS)),
    "sets": (("completions",), ("prompt", "messages", "scores", "ranks", "models", *ALWAYS)),
    "single": (("prompt", "completion"), ("label", "score", "model", *ALWAYS)),
    "conversation": (("messages",), ("label", "score", "model", *ALWAYS)),
    "prompts": (("prompt",), ALWAYS),
}
# Without `map`, a file needs all columns of one of these groups.
EXPECTED = (
    *((name,) for field in ("prompt", "messages") for name in NAMES[field]),
    ("chosen", "rejected"),
)
LISTS = ("completions", "scores", "ranks", "models", "messages")  # in CSV, JSON in the cell
JSON = ("tools", "chat_template_kwargs")  # kept as texts
JOINED = ("prompt", "system", "completion")  # several texts with a blank line between them
COLLECTED = ("completions", "scores", "ranks", "models")  # several columns as one list
# The Alpaca format splits its prompt into two columns, of which the second may be a phrase for "empty".
ALPACA_INPUT = "input"
NOTHING = ("", "no input", "noinput")  # also "<no input>" and "No input."


class Layout(NamedTuple):
    """The layout of rows: the shape, and for each of its fields the column (or columns, with +)."""

    shape: str
    fields: Mapping[str, str]


def check_map(mapped: Mapping[str, str]) -> None:
    """Raise `RecipeError` for an unknown field, columns that cannot be combined, or an unknown layout."""
    for field, column in mapped.items():
        if field not in NAMES:
            raise unknown("field of `map`", field, NAMES)
        if "+" in column and field not in JOINED + COLLECTED:
            raise RecipeError(f"map {field}={column}: only {', '.join(JOINED + COLLECTED)} can join columns")
    shape = _shape(mapped)
    if shape is None:
        raise RecipeError(
            f"map {','.join(mapped)}: give prompt, or messages, or chosen and rejected, or completions"
        )
    unread = sorted(set(mapped) - {field for fields in SHAPES[shape] for field in fields})
    if unread:
        used = ", ".join(SHAPES[shape][0])
        raise RecipeError(f"map {unread[0]}: not used together with {used}; leave it out")


def guess(names: Sequence[str]) -> Mapping[str, str]:
    """Return the `map` of rows with these columns; empty if no shape fits."""
    recognized = layout(names, {})
    return recognized.fields if recognized else {}


def layout(names: Collection[str], mapped: Mapping[str, str]) -> Layout | None:
    """Return the layout of rows with these columns; None if no shape fits."""
    fields = dict(mapped) or _guess(names)
    shape = _shape(fields)
    if shape is None:
        return None
    read = {field for part in SHAPES[shape] for field in part}
    return Layout(shape, {field: column for field, column in fields.items() if field in read})


def _guess(names: Collection[str]) -> dict[str, str]:
    fields = {}
    for field, candidates in NAMES.items():
        name = next((name for name in candidates if name in names), None)
        if name is not None:
            fields[field] = name
    if fields.get("prompt") == "instruction" and ALPACA_INPUT in names:
        fields["prompt"] = f"instruction+{ALPACA_INPUT}"
    return fields


def _shape(fields: Mapping[str, str]) -> str | None:
    return next((name for name, (needed, _) in SHAPES.items() if set(needed) <= set(fields)), None)


def gather(columns: Columns, fields: Mapping[str, str]) -> Columns:
    """Add the columns that fields join (`instruction+input`) or decode (JSON cells)."""
    arrays = dict(columns.arrays)
    for field, name in fields.items():
        parts = name.split("+")
        if len(parts) > 1:
            arrays[name] = _collect(columns, field, parts) if field in COLLECTED else _join(columns, parts)
        elif field in LISTS and name in columns and is_text(columns.arrays[name].type):
            arrays[name] = _decode(columns, name)
        elif field not in JSON and name in columns and is_json(columns.arrays[name].type):
            arrays[name] = _array(columns, name, _values(columns.arrays[name]))
    return replace(columns, arrays=arrays)


def _join(columns: Columns, names: list[str]) -> pa.Array:
    first, *others = (pl.Series(name, columns.text(name)) for name in names)
    bare = [pl.col(other.name).str.to_lowercase().str.strip_chars(" \n<>.") for other in others]
    filled = [
        pl.when(~word.is_in(NOTHING)).then(pl.col(other.name))
        for word, other in zip(bare, others, strict=True)
    ]
    frame = pl.DataFrame([first, *others])
    # A null first text is a missing prompt, whatever the others hold.
    joined = pl.concat_str([pl.col(first.name), *filled], separator="\n\n", ignore_nulls=True)
    result = frame.select(text=pl.when(pl.col(first.name).is_not_null()).then(joined))
    return result["text"].to_arrow().cast(pa.string())


def _collect(columns: Columns, field: str, names: list[str]) -> pa.Array:
    read = columns.number if field in ("scores", "ranks") else columns.text
    return interleave([read(name) for name in names])


def _decode(columns: Columns, name: str) -> pa.Array:
    """Decode cells of JSON lists, as in CSV, one by one: no columnar parser takes JSON of any shape."""
    values, broken = [], []
    for text in columns.text(name).to_pylist():
        try:
            value = None if text is None else loads(text)
        except ValueError:
            value = None
        values.append(with_json_texts(value) if isinstance(value, list) else None)
        broken.append(text is not None and values[-1] is None)
    columns.report(np.array(broken, np.bool_), "invalid_json", "is not a JSON list", name)
    return _array(columns, name, values)


def _values(column: pa.Array) -> list[Any]:
    """Parse values of the type Json of `datasets`, or lists of them, one by one as `_decode` does."""

    def parsed(value: Any) -> Any:
        if isinstance(value, list):
            return [parsed(item) for item in value]
        return with_json_texts(loads(value)) if value is not None else None

    return [parsed(value) for value in column.to_pylist()]


def _array(columns: Columns, name: str, values: list[Any]) -> pa.Array:
    """Make a column of parsed JSON, of whatever type fits all rows."""
    try:
        return pa.array(values)
    except NOT_ARROW:
        values = with_parts(values)
    try:
        return pa.array(values)
    except NOT_ARROW:
        columns.report(present(columns.arrays[name]), "mixed_types", "holds lists of several kinds", name)
        return pa.nulls(columns.size)
