"""What a text has that another has not, in words, in bounded time and memory.

    prefix, suffix    what both begin and end with
    exact             the longest common subsequence of the words between, by bits (Hyyrö 2004), in linear
                      memory (Hirschberg 1975)
    beyond MOST       the words that occur once in each text are anchors (patience), and what is between two
                      anchors is compared exactly, or in windows where it is too long for that

The first and the second text can always be put together again from the segments; a difference that is not
exact only marks more words as changed than it has to.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from pairkit.arrow import Mask
from pairkit.texts import WORD

Kind = Literal["same", "removed", "added"]
Ids = npt.NDArray[np.int64]
Matches = list[tuple[Ids, Ids]]  # runs of equal words: their indices in both texts, ascending

# Words of one text times words of the other: up to here a second or two.
MOST = 1 << 32
# The same of a table that is kept whole, a bit per cell, to read the matches from it.
_TABLE = 1 << 24
_WINDOW = 1 << 12
_MASK_BYTES = 1 << 25
_TOKEN = rf"(?s:{WORD}|\s+|.)"


class WordDiff(NamedTuple):
    """The difference of two texts.

    Attributes:
        segments: in the order of the texts. `same` and `removed` together are the first text, `same` and
            `added` the second one.
        exact: no other difference has fewer words changed, white space aside.
    """

    segments: list[tuple[Kind, str]]
    exact: bool


def word_diff(first: str, second: str) -> WordDiff:
    """Compare two texts word by word; each sign, and each character of scripts without spaces, is a word.

    White space alone between two changes counts as changed, because a sentence is easier to read whole.

    >>> word_diff("the cat sat", "the big cat sat").segments
    [('same', 'the '), ('added', 'big '), ('same', 'cat sat')]
    """
    tokens, other_tokens = _tokens(first), _tokens(second)
    count = len(tokens)
    both = pl.concat([tokens, other_tokens])
    ids: Ids = both.to_arrow().dictionary_encode().indices.to_numpy().astype(np.int64)
    a, b = ids[:count], ids[count:]
    start, end = _common_ends(a, b)
    middle_a, middle_b = a[start : len(a) - end], b[start : len(b) - end]
    # What only one text has matches nothing.
    of_a, of_b = _held(middle_a, middle_b), _held(middle_b, middle_a)
    exact = len(of_a) * len(of_b) <= MOST
    pieces = (_exact if exact else _anchored)(middle_a[of_a], middle_b[of_b])
    matches: Matches = [(np.arange(start), np.arange(start))]
    matches += [(of_a[each] + start, of_b[others] + start) for each, others in pieces]
    matches.append((np.arange(len(a) - end, len(a)), np.arange(len(b) - end, len(b))))
    rows, columns = (np.concatenate(each).astype(np.int64) for each in zip(*matches, strict=True))
    white = tokens.str.contains(r"^\s").to_numpy()
    rows, columns = _without_white(rows, columns, white, (len(a), len(b)))
    return WordDiff(_segments(first, second, tokens, other_tokens, rows, columns), exact)


def _tokens(text: str) -> pl.Series:
    return pl.Series([text], dtype=pl.String).str.extract_all(_TOKEN).explode().drop_nulls()


def _common_ends(a: Ids, b: Ids) -> tuple[int, int]:
    """Return how many words both texts begin with, and how many of the others they end with."""
    shorter = min(len(a), len(b))
    differs = np.flatnonzero(a[:shorter] != b[:shorter])
    start = int(differs[0]) if len(differs) else shorter
    rest = shorter - start
    differs = np.flatnonzero(a[len(a) - rest :][::-1] != b[len(b) - rest :][::-1])
    return start, int(differs[0]) if len(differs) else rest


def _held(words: Ids, others: Ids) -> Ids:
    """Return the indices of the words that are among the others too."""
    return np.flatnonzero(np.isin(words, others))


def _moved(matches: Matches, rows: int, columns: int) -> Matches:
    return [(row + rows, column + columns) for row, column in matches]


def _exact(a: Ids, b: Ids) -> Matches:
    """Return a longest common subsequence."""
    if not len(a) or not len(b):
        return []
    if len(a) == 1:
        place = np.flatnonzero(b == a[0])[:1]
        return [(np.zeros(1, np.int64), place)] if len(place) else []
    if len(a) * len(b) <= _TABLE:
        return _of_table(a, b)
    # Where an optimal path crosses the middle row: the best sum of what is before and after it.
    half = len(a) // 2
    before = _lengths(a[:half], b)
    after = _lengths(a[half:][::-1], b[::-1])[::-1]
    cut = int(np.argmax(before + after))
    return _exact(a[:half], b[:cut]) + _moved(_exact(a[half:], b[cut:]), half, cut)


def _vectors(a: Ids, b: Ids) -> Iterator[int]:
    """Yield, after each word of `a`, a bit per word of `b`: 0 where it makes the subsequence one longer."""
    every = (1 << len(b)) - 1
    places = _places(b)
    vector = every
    for word in a.tolist():
        shared = vector & places(word)
        vector = ((vector + shared) | (vector - shared)) & every
        yield vector


def _places(b: Ids) -> Callable[[int], int]:
    """Return what gives the places of a word in `b`, as bits."""
    if len(b) ** 2 <= _MASK_BYTES * 8:
        masks: dict[int, int] = {}
        for place, word in enumerate(b.tolist()):
            masks[word] = masks.get(word, 0) | 1 << place
        return lambda word: masks.get(word, 0)
    width = -(-len(b) // 8)
    order = np.argsort(b, kind="stable")
    ascending = b[order]

    # Made when they are needed, because a mask per different word would be as large as the whole table.
    @lru_cache(maxsize=max(64, _MASK_BYTES // width))
    def places(word: int) -> int:
        low, high = np.searchsorted(ascending, [word, word + 1])
        bits = np.zeros(width * 8, np.bool_)
        bits[order[low:high]] = True
        return int.from_bytes(np.packbits(bits, bitorder="little").tobytes(), "little")

    return places


def _lengths(a: Ids, b: Ids) -> Ids:
    """Return how long the subsequence of `a` and each beginning of `b` is, `[len(b) + 1]`."""
    last = deque(_vectors(a, b), maxlen=1).pop()
    bits = np.frombuffer(last.to_bytes(-(-len(b) // 8), "little"), np.uint8)
    longer = np.unpackbits(bits, count=len(b), bitorder="little") == 0
    return np.concatenate([[0], np.cumsum(longer)])


def _of_table(a: Ids, b: Ids) -> Matches:
    """Return a longest common subsequence, read from the bits of all rows."""
    width = -(-len(b) // 8)
    table = [vector.to_bytes(width, "little") for vector in _vectors(a, b)]
    row, column = len(a), len(b)
    places: list[tuple[int, int]] = []
    while row and column:
        byte, bit = (column - 1) >> 3, 1 << ((column - 1) & 7)
        if table[row - 1][byte] & bit:
            column -= 1
        elif row > 1 and not table[row - 2][byte] & bit:
            row -= 1
        else:
            row, column = row - 1, column - 1
            places.append((row, column))
    return _runs(places[::-1])


def _anchored(a: Ids, b: Ids) -> Matches:
    """Match words that occur once in each text, in one order, and compare what is between them."""
    matches: Matches = []
    top = left = 0
    for row, column in [*_anchors(a, b), (len(a), len(b))]:
        matches += _moved(_between(a[top:row], b[left:column]), top, left)
        matches += _runs([(row, column)] if row < len(a) else [])
        top, left = row + 1, column + 1
    return matches


def _anchors(a: Ids, b: Ids) -> list[tuple[int, int]]:
    """Return the places of the most words that occur once in each text and have one order in both."""
    once_a, once_b = _once(a), _once(b)
    _, of_a, of_b = np.intersect1d(a[once_a], b[once_b], return_indices=True)
    rows, columns = once_a[of_a], once_b[of_b]
    order = np.argsort(rows)
    rows, columns = rows[order], columns[order]
    # The longest ascending subsequence of the columns: the smallest end of each length, and what precedes it.
    ends: list[int] = []
    indices: list[int] = []
    before = [-1] * len(rows)
    for index, column in enumerate(columns.tolist()):
        place = bisect_left(ends, column)
        before[index] = indices[place - 1] if place else -1
        ends[place : place + 1] = [column]
        indices[place : place + 1] = [index]
    chain = []
    index = indices[-1] if indices else -1
    while index >= 0:
        chain.append((int(rows[index]), int(columns[index])))
        index = before[index]
    return chain[::-1]


def _once(words: Ids) -> Ids:
    """Return the indices of the words that occur once."""
    _, first, counts = np.unique(words, return_index=True, return_counts=True)
    return np.sort(first[counts == 1])


def _between(a: Ids, b: Ids) -> Matches:
    """Compare what is between two anchors: exactly where it is short, else window by window."""
    windows = 1 if len(a) * len(b) <= _TABLE else -(-max(len(a), len(b)) // _WINDOW)
    rows, columns = (np.linspace(0, len(each), windows + 1).astype(int) for each in (a, b))
    matches: Matches = []
    for top, bottom, left, right in zip(rows, rows[1:], columns, columns[1:], strict=False):
        part, other = a[top:bottom], b[left:right]
        of_part, of_other = _held(part, other), _held(other, part)
        runs = _exact(part[of_part], other[of_other])
        matches += [(of_part[each] + top, of_other[others] + left) for each, others in runs]
    return matches


def _runs(pairs: Sequence[tuple[int, int]]) -> Matches:
    if not pairs:
        return []
    both = np.array(pairs, np.int64)
    return [(both[:, 0], both[:, 1])]


def _without_white(rows: Ids, columns: Ids, white: Mask, ends: tuple[int, int]) -> tuple[Ids, Ids]:
    """Leave out runs of equal words that are white space alone and have changes on both sides."""
    if not len(rows):
        return rows, columns
    run = np.concatenate([[0], np.cumsum((np.diff(rows) != 1) | (np.diff(columns) != 1))])
    blank = np.bincount(run, white[rows]) == np.bincount(run)
    # A run at an end of the texts has changes on one side only.
    blank[0] &= bool(rows[0] or columns[0])
    blank[-1] &= bool(rows[-1] + 1 < ends[0] or columns[-1] + 1 < ends[1])
    stays = ~blank[run]
    return rows[stays], columns[stays]


def _segments(
    first: str, second: str, tokens: pl.Series, others: pl.Series, rows: Ids, columns: Ids
) -> list[tuple[Kind, str]]:
    cuts, other_cuts = _cuts(tokens), _cuts(others)
    segments: list[tuple[Kind, str]] = []

    def add(kind: Kind, text: str) -> None:
        if text:
            segments.append((kind, text))

    breaks = np.flatnonzero((np.diff(rows) != 1) | (np.diff(columns) != 1)) + 1
    top = left = 0
    for start, stop in zip([0, *breaks.tolist()], [*breaks.tolist(), len(rows)], strict=True):
        row, column, length = (
            (int(rows[start]), int(columns[start]), stop - start)
            if stop > start
            else (len(tokens), len(others), 0)
        )
        add("removed", first[cuts[top] : cuts[row]])
        add("added", second[other_cuts[left] : other_cuts[column]])
        add("same", first[cuts[row] : cuts[row + length]])
        top, left = row + length, column + length
    add("removed", first[cuts[top] :])
    add("added", second[other_cuts[left] :])
    return segments


def _cuts(tokens: pl.Series) -> list[int]:
    """Return where each token begins, in characters, and where the last one ends."""
    lengths = tokens.str.len_chars().to_numpy()
    return [0, *np.cumsum(lengths).tolist()]
