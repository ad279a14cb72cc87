"""What filters and comparisons see of a text: its words, hashes of their n-grams, and whether it refuses."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import filter_lists, flatten, listed, mask
from pairkit.random_bits import GOLDEN, Words, finalize_words

# Scripts that put no space between words: each of their characters is a word.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
WORD = rf"[{_UNSPACED}]|[[\p{{L}}\p{{M}}\p{{N}}]--[{_UNSPACED}]]+"
# With signs of arithmetic and code, because 37+45 and 37-45 are two problems.
WORD_OR_SYMBOL = rf"{WORD}|[\p{{S}}*/%&#-]"

# How refusals begin. A pattern cannot know whether a refusal is right.
REFUSAL = (
    r"(?i)^\s*(?:(?:i['’]m|i am) (?:very |really )?sorry|sorry|i apologi[sz]e)?[,.]?\s*(?:but )?"
    r"(?:i (?:can ?not|can['’]?t|won['’]?t|must decline)|i(?: am|['’]m) (?:not able|unable)|as an ai\b)"
)


class Ngrams(NamedTuple):
    """The n-grams of texts, in order: those of text i are `hashes[cuts[i]:cuts[i + 1]]`."""

    hashes: Words  # uint64
    cuts: npt.NDArray[np.int64]  # [texts + 1]

    @property
    def texts(self) -> npt.NDArray[np.int64]:
        """The index of the text that each n-gram is in."""
        return np.repeat(np.arange(len(self.cuts) - 1), np.diff(self.cuts))


def prompt_texts(prompts: pa.Array, *, system: bool = True) -> pl.Series:
    """Join the texts of each prompt's messages by line breaks, with or without those of the system."""
    cuts, messages = flatten(prompts)
    texts = listed(cuts, pc.struct_field(messages, "content"))
    if not system:
        texts = filter_lists(texts, mask(pc.not_equal(pc.struct_field(messages, "role"), "system")))
    return pl.Series(pc.binary_join(texts, "\n"), dtype=pl.String)


def words(texts: pl.Series, *, symbols: bool = False) -> pl.Series:
    """Return the words of each text in lower case, a list per text; null has none.

    Case, punctuation, spaces and compatible forms of characters (NFKC) make no difference. With `symbols`,
    those of arithmetic, currencies and code are words of their own.
    """
    plain = texts.fill_null("").str.normalize("NFKC").str.to_lowercase()
    return plain.str.extract_all(WORD_OR_SYMBOL if symbols else WORD)


def ngrams(listed_words: pl.Series, n: int) -> Ngrams:
    """Return the hashes of all runs of `n` words; those of a shorter text are one n-gram, none has none.

    >>> ngrams(words(pl.Series(["A b c d", "a, b!", ""])), 3).cuts.tolist()
    [0, 2, 3, 3]
    """
    lengths = listed_words.list.len().to_numpy().astype(np.int64)
    flat = listed_words.explode().drop_nulls()  # of a list without words, explode makes a null
    hashes = flat.hash(seed=0).to_numpy()
    counts = np.where(lengths > 0, np.maximum(lengths - n + 1, 1), 0)
    cuts = _cuts(counts)
    # Where each n-gram begins, and where its text ends, in the flat words.
    ends = _cuts(lengths)[1:]
    begins = np.arange(cuts[-1]) + np.repeat(ends - lengths - cuts[:-1], counts)
    last = np.repeat(ends, counts)
    state = np.zeros(cuts[-1], np.uint64)
    with np.errstate(over="ignore"):
        for step in range(n):
            place = begins + step
            inside = place < last
            word = np.where(inside, hashes[np.minimum(place, len(hashes) - 1)] if len(hashes) else 0, 1)
            # A polynomial in an odd number, so that the order of the words counts.
            state = state * np.uint64(GOLDEN) + word.astype(np.uint64)
    return Ngrams(finalize_words(state), cuts)


def _cuts(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
