"""The table of filters: for each field of `FilterRecipe`, the value that decides and what does not pass.

Values are expressions over a frame with one row per set:

    prompt     the messages' texts, joined by line breaks
    asked      the same without those of the system
    texts      list of the completions' texts, best first
    scores     list of their scores
    ranked     the number of completions with a rank, which come first
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import polars as pl

from pairkit.arrow import listed, offsets
from pairkit.mining.filters.language import language
from pairkit.mining.filters.measures import diversity, repetition
from pairkit.mining.filters.recipe import FilterRecipe, Patterns
from pairkit.texts import REFUSAL


class Filter(NamedTuple):
    """One filter.

    Attributes:
        value: the value of each set, or with `per="completion"` the list of its completions' values, from the
            filter's block.
        breaks: whether a value (of a set or of one completion) does not pass, from the block.
        before: whether it needs nothing but the prompt, so that it is applied before models are asked.
    """

    value: Callable[[Any], pl.Expr]
    breaks: Callable[[Any, pl.Expr], pl.Expr]
    per: Literal["set", "completion"] = "set"
    before: bool = False


def _outside(block: Any, value: pl.Expr) -> pl.Expr:
    below = value < block.min if block.min is not None else pl.lit(False)
    above = value > block.max if block.max is not None else pl.lit(False)
    return below | above


def _unmatched(block: Patterns, value: pl.Expr) -> pl.Expr:
    wrong = [~value.str.contains(pattern) for pattern in block.require]
    return pl.any_horizontal(wrong + [value.str.contains(pattern) for pattern in block.forbid])


def _foreign(block: Any, value: pl.Expr) -> pl.Expr:
    return ~value.is_in(block.allowed)


def _best_and_worst(column: str) -> tuple[pl.Expr, pl.Expr]:
    """Return the value of the best completion and of the lowest-ranked one; null with fewer than two."""
    values, count = pl.col(column), pl.col("ranked")
    first, last = values.list.get(0, null_on_oob=True), values.list.get(count - 1, null_on_oob=True)
    return tuple(pl.when(count > 1).then(each) for each in (first, last))  # type: ignore[return-value]


def _margin(_: Any) -> pl.Expr:
    best, worst = _best_and_worst("scores")
    return best - worst


def _length_difference(_: Any) -> pl.Expr:
    best, worst = _best_and_worst("texts")
    return (best.str.len_chars().cast(pl.Int64) - worst.str.len_chars().cast(pl.Int64)).abs()


TEXTS, PROMPT, ASKED = pl.col("texts"), pl.col("prompt"), pl.col("asked")
FILTERS: dict[str, Filter] = {
    "prompt_chars": Filter(lambda block: PROMPT.str.len_chars(), _outside, before=True),
    "prompt_regex": Filter(lambda block: PROMPT, _unmatched, before=True),
    "prompt_language": Filter(
        lambda block: ASKED.map_batches(
            lambda texts: language(texts, block.probability), return_dtype=pl.String
        ),
        _foreign,
        before=True,
    ),
    "completions": Filter(lambda block: TEXTS.list.len(), _outside),
    "completion_chars": Filter(
        lambda block: TEXTS.list.eval(pl.element().str.len_chars()), _outside, "completion"
    ),
    "completion_regex": Filter(lambda block: TEXTS, _unmatched, "completion"),
    "completion_language": Filter(
        lambda block: TEXTS.map_batches(
            lambda lists: per_completion(lists, lambda texts: language(texts, block.probability)),
            return_dtype=pl.List(pl.String),
        ),
        _foreign,
        "completion",
    ),
    "refusal": Filter(
        lambda block: TEXTS.list.eval(pl.element().str.contains(REFUSAL)),
        lambda block, value: value,
        "completion",
    ),
    "repetition": Filter(
        lambda block: TEXTS.map_batches(
            lambda lists: per_completion(lists, lambda texts: repetition(texts, block.ngram)),
            return_dtype=pl.List(pl.Float64),
        ),
        _outside,
        "completion",
    ),
    "score": Filter(lambda block: pl.col("scores"), _outside, "completion"),
    "margin": Filter(_margin, _outside),
    "pair_chars": Filter(_length_difference, _outside),
    "diversity": Filter(
        lambda block: TEXTS.map_batches(diversity, return_dtype=pl.Float64),
        _outside,
    ),
}
assert FILTERS.keys() == FilterRecipe.model_fields.keys()


def per_completion(lists: pl.Series, function: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """Apply a function of texts to the texts of all lists at once; return lists of its values."""
    sizes = lists.list.len().to_numpy()
    values = function(lists.explode().drop_nulls())  # of an empty list, explode makes a null
    return pl.Series(listed(offsets(sizes), values.to_arrow()))
