"""The texts of sets, read block by block: how long they are, and whether they hold some words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import flatten, is_list, struct_fields
from pairkit.intervals import Floats
from pairkit.view.columns import LEAF
from pairkit.view.lists import Mask, Positions, at, reduced

PROMPT, TEXT = "prompt.list.element.content", f"{LEAF}text"
# What a search looks at: also thoughts and calls of tools, where there are any.
SEARCHED = (
    PROMPT,
    "prompt.list.element.reasoning_content",
    "prompt.list.element.tool_calls",
    TEXT,
    f"{LEAF}reasoning_content",
    f"{LEAF}tool_calls",
)


class Texts(NamedTuple):
    """Texts of some rows: the row of each, and the texts."""

    owners: Positions
    texts: pl.Series


def texts_of(batch: pa.RecordBatch) -> list[Texts]:
    """Return all texts of a batch, whose columns are texts, or lists of structs of texts."""
    columns_of_texts = []
    for column in batch.columns:
        if is_list(column.type):
            cuts, flat = flatten(column)
            owners = np.repeat(np.arange(batch.num_rows), np.diff(cuts))
            columns_of_texts += [Texts(owners, _series(texts)) for texts in struct_fields(flat).values()]
        else:
            columns_of_texts.append(Texts(np.arange(batch.num_rows), _series(column)))
    return columns_of_texts


def holding(batch: pa.RecordBatch, patterns: Sequence[str]) -> Mask:
    """Mark the rows of a batch whose texts match every pattern, each in any text."""
    every = texts_of(batch)
    marked = np.ones(batch.num_rows, np.bool_)
    for pattern in patterns:
        matches = np.zeros(batch.num_rows, np.bool_)
        for owners, texts in every:
            matches[owners[texts.str.contains(pattern).fill_null(False).to_numpy()]] = True
        marked &= matches
        if not marked.any():
            break
    return marked


def pattern_of(word: str) -> str:
    """Return the regular expression for a word in any case."""
    return f"(?i){re.escape(word)}"


def lengths_of(batch: pa.RecordBatch, chosen: npt.NDArray[np.integer[Any]]) -> dict[str, Floats]:
    """Return characters of each set's prompt, chosen and longest completion, of columns `PROMPT` and `TEXT`.

    Args:
        chosen: the position of the chosen completion in each set; -1 where there is none.
    """
    cuts, messages = flatten(batch["prompt"])
    prompts = _characters(pc.struct_field(messages, "content"))
    offsets, completions = flatten(batch["completions"])
    texts = _characters(pc.struct_field(completions, "text"))
    text_cuts = offsets.astype(np.int64)
    return {
        "prompt": reduced(np.add, prompts, cuts.astype(np.int64), 0),
        "chosen": at(texts, np.where(chosen < 0, -1, text_cuts[:-1] + chosen)),
        "longest": reduced(np.maximum, texts, text_cuts, np.nan),
    }


def _characters(texts: pa.Array) -> Floats:
    characters: Floats = pc.fill_null(pc.utf8_length(texts), 0).to_numpy().astype(np.float64)
    return characters


def _series(texts: pa.Array) -> pl.Series:
    series = pl.from_arrow(texts)
    assert isinstance(series, pl.Series)
    return series
