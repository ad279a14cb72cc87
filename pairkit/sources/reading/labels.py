"""Labels of single completions: good or not, as truth values, numbers and the words that people use."""

from __future__ import annotations

from collections.abc import Set

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import Mask, is_number, is_text, mask, parse_numbers, present

GOOD = (
    *("true", "t", "yes", "y", "good", "desirable", "positive", "pos", "correct", "right", "pass", "passed"),
    *("up", "upvote", "upvoted", "thumbs_up", "thumb_up", "thumbsup", "👍", "like", "liked"),
    *("chosen", "preferred", "accept", "accepted", "approve", "approved", "helpful", "✅", "✔", "✓"),
)
BAD = (
    *("false", "f", "no", "n", "bad", "undesirable", "negative", "neg", "incorrect", "wrong", "fail"),
    *("failed", "down", "downvote", "downvoted", "thumbs_down", "thumb_down", "thumbsdown", "👎", "dislike"),
    *("disliked", "rejected", "dispreferred", "reject", "not_accepted", "disapprove", "disapproved"),
    *("unhelpful", "❌", "✘"),
)
ADVICE = "write true or false, or yes and no; numbers of a rating are read with --map score=COLUMN"
SHOWN = 40  # characters of a label in a message
# Colors of an emoji's hand, and the mark of its colored form.
_VARIANTS = "[\U0001f3fb-\U0001f3ff\ufe0f]"

Problem = tuple[Mask, str]


def read_labels(values: pa.Array) -> tuple[pa.Array, list[Problem]]:
    """Read booleans, numbers or words as booleans; return also the values that are neither, and what to do.

    Numbers are 1 and 0, or 1 and -1. With others among them they are a rating, and none of them is a label.
    """
    if pa.types.is_boolean(values.type):
        return values, []
    if not (is_text(values.type) or is_number(values.type)):
        wrong = present(values)
        return pa.nulls(len(values), pa.bool_()), [(wrong, f"is neither true nor false; {ADVICE}")]
    if is_number(values.type):
        texts, numbers = values.cast(pa.string()), values.cast(pa.float64(), safe=False)
    else:
        texts = values.cast(pa.string())
        numbers = parse_numbers(texts)
    good, bad, rating = _numbers(numbers)
    words = _words(texts)
    good |= mask(pc.is_in(words, pa.array(GOOD)))
    bad |= mask(pc.is_in(words, pa.array(BAD)))
    unclear = present(texts) & ~good & ~bad & ~mask(pc.equal(words, ""))
    return pa.array(good, mask=~(good | bad)), _problems(texts, unclear, rating)


def is_rating(numbers: Set[float]) -> bool:
    """Return whether numbers are a rating and no labels, which are 1 and 0, or 1 and -1."""
    return not (numbers <= {0.0, 1.0} or numbers <= {-1.0, 1.0})


def _numbers(numbers: pa.Array) -> tuple[Mask, Mask, Mask]:
    """Return which numbers are good, bad, and part of a rating."""
    some = present(numbers)
    values = np.where(some, pc.fill_null(numbers, 0).to_numpy(zero_copy_only=False), np.nan)
    if is_rating(set(values[some].tolist())):
        return np.zeros(len(some), np.bool_), np.zeros(len(some), np.bool_), some
    return values == 1, (values == 0) | (values == -1), np.zeros(len(some), np.bool_)


def _words(texts: pa.Array) -> pa.Array:
    bare = pc.replace_substring_regex(pc.utf8_lower(texts), _VARIANTS, "")
    bare = pc.utf8_trim(bare, characters=" \t\r\n.!:\"'")
    return pc.replace_substring_regex(bare, r"[\s-]+", "_")


def _problems(texts: pa.Array, unclear: Mask, rating: Mask) -> list[Problem]:
    problems = []
    for value in pc.unique(texts.filter(pa.array(unclear))).to_pylist():
        where = unclear & mask(pc.equal(texts, value))
        shown = value if len(value) <= SHOWN else value[:SHOWN] + "…"
        why = "which is part of a rating and no label" if rating[where].any() else "neither true nor false"
        problems.append((where, f"is {shown!r}, {why}; {ADVICE}"))
    return problems
