"""Which columns of a file hold what: by `map`, or else by the names that data sets use."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import pyarrow as pa

from pairkit.arrow import is_text, present
from pairkit.errors import RecipeError, unknown
from pairkit.readers.jsonlines import NOT_ARROW, loads
from pairkit.sources.reading.columns import Columns, interleave

# Field -> the columns that it is taken from where nothing is mapped, the first one there.
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
}
# What each shape of row is made of: the first shape whose first fields are all there is taken.
SHAPES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "pairs": (("chosen", "rejected"), ("prompt", "system", "messages", "score_chosen", "score_rejected")),
    "sets": (("completions",), ("prompt", "system", "messages", "scores", "ranks", "models")),
    "single": (("prompt", "completion"), ("system", "label", "score", "model")),
    "conversation": (("messages",), ("system", "label", "score", "model")),
    "prompts": (("prompt",), ("system",)),
}
# The columns that a file has to hold where nothing is mapped, one of these groups.
EXPECTED = (
    *((name,) for field in ("prompt", "messages") for name in NAMES[field]),
    ("chosen", "rejected"),
)
LISTS = ("completions", "scores", "ranks", "models", "messages")  # in CSV, JSON in the cell
JOINED = ("prompt", "system", "completion")  # several texts with a blank line between them
COLLECTED = ("completions", "scores", "ranks", "models")  # several columns as one list
# The Alpaca format has its prompt in two columns, of which the second may say that it is empty.
ALPACA_INPUT = "input"
NOTHING = ("", "no input", "noinput")  # also "<no input>" and "No input."


class Layout(NamedTuple):
    """How rows are laid out: the shape, and for each of its fields the column (or columns, with +)."""

    shape: str
    fields: Mapping[str, str]


def check_map(mapped: Mapping[str, str]) -> None:
    """Raises `RecipeError` for a field that there is not, columns that cannot be joined, or no shape."""
    for field, column in mapped.items():
        if field not in NAMES:
            raise unknown("field of `map`", field, NAMES)
        if "+" in column and field not in JOINED + COLLECTED:
            raise RecipeError(f"map {field}={column}: only {', '.join(JOINED + COLLECTED)} join columns")
    shape = _shape(mapped)
    if shape is None:
        raise RecipeError(
            f"map {','.join(mapped)}: give prompt, or messages, or chosen and rejected, or completions"
        )
    unread = sorted(set(mapped) - {field for fields in SHAPES[shape] for field in fields})
    if unread:
        raise RecipeError(f"map {unread[0]}: not read beside {', '.join(SHAPES[shape][0])}; leave it out")


def guess(names: Sequence[str]) -> Mapping[str, str]:
    """The `map` of rows with those columns; empty where no shape fits."""
    found = layout(names, {})
    return found.fields if found else {}


def layout(names: Collection[str], mapped: Mapping[str, str]) -> Layout | None:
    """The layout of rows with those columns; None where no shape fits."""
    fields = dict(mapped) or _guess(names)
    shape = _shape(fields)
    if shape is None:
        return None
    wanted = {field for part in SHAPES[shape] for field in part}
    return Layout(shape, {field: column for field, column in fields.items() if field in wanted})


def _guess(names: Collection[str]) -> dict[str, str]:
    fields = {}
    for field, candidates in NAMES.items():
        found = [name for name in candidates if name in names]
        if found:
            fields[field] = found[0]
    if fields.get("prompt") == "instruction" and ALPACA_INPUT in names:
        fields["prompt"] = f"instruction+{ALPACA_INPUT}"
    return fields


def _shape(fields: Mapping[str, str]) -> str | None:
    return next((name for name, (needed, _) in SHAPES.items() if set(needed) <= set(fields)), None)


def gather(columns: Columns, fields: Mapping[str, str]) -> Columns:
    """The columns, with those that a field joins (`instruction+input`) and decodes (JSON cells) made."""
    arrays = dict(columns.arrays)
    for field, name in fields.items():
        parts = name.split("+")
        if len(parts) > 1:
            arrays[name] = _collect(columns, field, parts) if field in COLLECTED else _join(columns, parts)
        elif field in LISTS and name in columns and is_text(columns.arrays[name].type):
            arrays[name] = _decode(columns, name)
    return replace(columns, arrays=arrays)


def _join(columns: Columns, names: list[str]) -> pa.Array:
    import polars as pl

    first, *others = (pl.Series(name, columns.text(name)) for name in names)
    bare = [pl.col(other.name).str.to_lowercase().str.strip_chars(" \n<>.") for other in others]
    kept = [
        pl.when(~word.is_in(NOTHING)).then(pl.col(other.name))
        for word, other in zip(bare, others, strict=True)
    ]
    frame = pl.DataFrame([first, *others])
    # The first text decides whether there is one at all.
    joined = pl.concat_str([pl.col(first.name), *kept], separator="\n\n", ignore_nulls=True)
    result = frame.select(text=pl.when(pl.col(first.name).is_not_null()).then(joined))
    return result["text"].to_arrow().cast(pa.string())


def _collect(columns: Columns, field: str, names: list[str]) -> pa.Array:
    read = columns.number if field in ("scores", "ranks") else columns.text
    return interleave([read(name) for name in names])


def _decode(columns: Columns, name: str) -> pa.Array:
    """Cells of JSON lists, as CSV has them: JSON has no columnar parser for values of any shape."""
    values, broken = [], []
    for text in columns.text(name).to_pylist():
        try:
            value = None if text is None else loads(text)
        except ValueError:
            value = None
        values.append(value if isinstance(value, list) else None)
        broken.append(text is not None and values[-1] is None)
    found = pa.array(broken, pa.bool_()).to_numpy(zero_copy_only=False)
    columns.report(found, "invalid_json", "is not a JSON list", name)
    try:
        return pa.array(values)
    except NOT_ARROW:
        columns.report(present(columns.arrays[name]), "mixed_types", "holds lists of several kinds", name)
        return pa.nulls(columns.size)
