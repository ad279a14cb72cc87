"""What a layout is: the columns that give it away, and the field that each of them is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa

from pairkit.readers.blocks import RowTable

# Optional in rows of every shape.
ALWAYS = ("system", "history", "tools", "chat_template_kwargs")


class Shape(NamedTuple):
    """What rows hold: the fields that they need, and those that they may have."""

    required: tuple[str, ...]
    optional: tuple[str, ...]


# The first shape whose required fields a user's map names is the shape of the rows.
SHAPES: Mapping[str, Shape] = {
    "pairs": Shape(
        ("chosen", "rejected"),
        (
            *("prompt", "messages", "score_chosen", "score_rejected", "model_chosen", "model_rejected"),
            *("reasoning_chosen", "reasoning_rejected"),
            *ALWAYS,
        ),
    ),
    "sets": Shape(
        ("completions",),
        (
            *("prompt", "messages", "transcript", "questions", "scores", "other_scores", "ranks", "order"),
            *("models", "reasonings", "labels", "winner", "loser", "winners", "flags", "strength"),
            *("preference", "rank_by_order"),
            *ALWAYS,
        ),
    ),
    "single": Shape(
        ("prompt", "completion"),
        ("label", "score", "ratings", "rank", "model", "reasoning", "group", *ALWAYS),
    ),
    "conversation": Shape(("messages",), ("label", "score", "ratings", "model", *ALWAYS)),
    "prompts": Shape(("prompt",), ("answer", *ALWAYS)),
}


@dataclass(frozen=True)
class Layout:
    """One row of the table of layouts.

    `needs` are paths (paths.py) that all have to exist, each with a kind after a colon where that matters:
    "output:list". `fields` names for each field its path, or several of which the first that exists is used;
    a field of which none exists is left out. They may have a kind too. Columns of numbers between | are
    joined, as many as exist.
    `options` are those of a map that hold for every such file.

    `expand` turns raw rows into others, such as a tree into its prompts; each keeps the number of its row.
    With `whole` it gets all rows of a file at once. `prepare` adds columns to the raw ones. `adds` are the
    columns that come into being in this way, and `reads` the raw columns that they are made of.
    """

    name: str
    summary: str  # what a row holds, in a few words: "read as NAME: SUMMARY"
    shape: str
    fields: Mapping[str, str | tuple[str, ...]]
    origin: str  # where the layout is from, with a link
    example: str  # a row as JSON, or several rows, one per line
    needs: tuple[str, ...] = ()
    needs_one: tuple[str, ...] = ()  # at least one of them, and it holds numbers
    needs_none: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    expand: Callable[[RowTable], RowTable] | None = None
    prepare: Callable[[Mapping[str, pa.Array]], Mapping[str, pa.Array]] | None = None
    whole: bool = False
    adds: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()

    @property
    def required(self) -> tuple[str, ...]:
        """The fields that rows of this layout need."""
        return SHAPES[self.shape].required
