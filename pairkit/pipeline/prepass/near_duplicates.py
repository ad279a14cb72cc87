"""Near-duplicate prompts: MinHash signatures (rensa), and the bands in which two of them may agree.

A prompt's signature has 128 numbers, of which two prompts share about as large a part as they share of their
runs of words (Jaccard similarity; standard error at most 0.044). Rows whose signatures agree in a whole band
are compared, so that not every prompt is compared with every other one. All that is held of a prompt are the
lowest 16 bits of each number, 256 bytes: other texts agree in one by chance in one of 65,536 cases.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pairkit.extras import extra_version
from pairkit.random_bits import GOLDEN, Words, finalize_words
from pairkit.texts import ngrams, prompt_texts, words

Rows = npt.NDArray[np.int64]
PERMUTATIONS = 128
EXTRA, PACKAGE = "prepass", "rensa"
_SEED = 0
# Of pairs at the threshold, the share that agrees in at least one band.
_RECALL = 0.99
_GROWTH = 1 << 18  # rows, 64 MiB: no larger step, because doubling would need a third more than there are
_COMPARED = 1 << 16  # pairs at a time
# Rows of one band that are compared with all others of it; further ones are found by other bands.
_CENTERS = 100


class Signatures:
    """The signatures of prompts, a row each, in the order in which they were added."""

    def __init__(self, ngram: int) -> None:
        """Raises `MissingExtraError` without rensa."""
        extra_version(PACKAGE, EXTRA)
        self._ngram, self._count = ngram, 0
        self._numbers = np.empty((0, PERMUTATIONS), np.uint16)
        self._worded: list[npt.NDArray[np.bool_]] = []

    def add(self, prompts: pa.Array) -> None:
        """Add prompts (`PROMPT`); the system's messages are left out, because many prompts share them."""
        from rensa import RMinHash

        texts = prompt_texts(prompts, system=False)
        grams = ngrams(words(texts, symbols=True), self._ngram)
        cuts = grams.cuts.astype(np.uint64)
        digests = RMinHash.digest_matrix_from_flat_token_hashes(grams.hashes, cuts, PERMUTATIONS, _SEED)
        while self._count + len(texts) > len(self._numbers):
            # In place, so that memory never holds two copies.
            step = min(_GROWTH, max(len(self._numbers), len(texts)))
            self._numbers.resize((len(self._numbers) + step, PERMUTATIONS), refcheck=False)
        if len(texts):
            rows = np.array(digests.to_rows(), np.uint32).astype(np.uint16)
            self._numbers[self._count : self._count + len(texts)] = rows
        self._count += len(texts)
        self._worded.append(np.diff(grams.cuts) > 0)

    @property
    def numbers(self) -> npt.NDArray[np.uint16]:
        """The signatures, [rows, 128]."""
        return self._numbers[: self._count]

    @property
    def worded(self) -> npt.NDArray[np.bool_]:
        """Whether a prompt has a word: one without has nothing to be compared by."""
        return np.concatenate(self._worded) if self._worded else np.zeros(0, np.bool_)


class Twins(NamedTuple):
    """For each row the row that it duplicates and that stays, -1 where it stays itself, and how similar."""

    row: Rows
    similarity: npt.NDArray[np.float32]


def near_duplicates(numbers: npt.NDArray[np.uint16], preferred: Rows, threshold: float) -> Twins:
    """Find the near-duplicates among the rows `preferred`, which are in order of preference.

    A row leaves if its similarity to a row that stays, and that is before it in this order, is at least
    `threshold`. Of rows that agree in a band no two stay that are this similar.
    """
    twin = np.full(len(numbers), -1, np.int64)
    similarity = np.zeros(len(numbers), np.float32)
    width = band_width(threshold)
    remaining = preferred
    while len(remaining):
        twins = _pass(numbers, remaining, threshold, width)
        places = np.flatnonzero(twins.row >= 0)
        if not len(places):
            break
        # One whose twin leaves is looked for again: it may be like none that stays.
        settled = places[twins.row[twins.row[places]] < 0]
        twin[remaining[settled]] = remaining[twins.row[settled]]
        similarity[remaining[settled]] = twins.similarity[settled]
        # So is one whose twin of an earlier pass leaves in this one.
        lost = preferred[_chained(twin, preferred)]
        twin[lost] = -1
        remaining = preferred[twin[preferred] < 0]
    return Twins(twin, similarity)


def _chained(twin: Rows, rows: Rows) -> npt.NDArray[np.bool_]:
    partners = twin[rows]
    return (partners >= 0) & (twin[partners] >= 0)


def band_width(threshold: float) -> int:
    """Return how many numbers of a signature have to agree: the most that leave a pair at 0.99 to be found.

    >>> [band_width(threshold) for threshold in (0.5, 0.8, 1.0)]
    [3, 6, 128]
    """
    widths = range(PERMUTATIONS, 1, -1)
    return next((r for r in widths if 1 - (1 - threshold**r) ** (PERMUTATIONS // r) >= _RECALL), 1)


def _pass(numbers: npt.NDArray[np.uint16], rows: Rows, threshold: float, width: int) -> Twins:
    """Compare rows band by band; a row that is found like one before it is not looked at again."""
    twin = np.full(len(rows), -1, np.int64)  # places in `rows`, as everything here
    similarity = np.zeros(len(rows), np.float32)
    for begin in range(0, PERMUTATIONS - width + 1, width):
        places = np.flatnonzero(twin < 0)
        keys = _keys(numbers, rows[places], begin, width)
        # Stable, so that the first of equal keys is the preferred one.
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        group = np.concatenate([[0], np.cumsum(ordered[1:] != ordered[:-1])])
        members = places[order]
        for _ in range(_CENTERS):
            alone = np.bincount(group)[group] < 2
            members, group = members[~alone], group[~alone]
            if not len(members):
                break
            group = np.cumsum(np.diff(group, prepend=group[:1]) != 0)  # without gaps
            first = np.flatnonzero(np.diff(group, prepend=-1))
            center = members[np.repeat(first, np.diff(first, append=len(members)))]
            similarities = _similarity(numbers, rows[members], rows[center])
            hit = (similarities >= threshold) & (members != center)
            twin[members[hit]], similarity[members[hit]] = center[hit], similarities[hit]
            # Those that are like no center so far are compared with the next one.
            remaining = ~hit & (members != center)
            members, group = members[remaining], group[remaining]
    return Twins(twin, similarity)


def _keys(numbers: npt.NDArray[np.uint16], rows: Rows, begin: int, width: int) -> Words:
    """Return a hash of a band of each row."""
    key = np.zeros(len(rows), np.uint64)
    with np.errstate(over="ignore"):
        # A column at a time, so that no band of all rows is copied.
        for column in range(begin, begin + width):
            key = finalize_words(key * np.uint64(GOLDEN) + numbers[rows, column])
    return key


def _similarity(numbers: npt.NDArray[np.uint16], rows: Rows, others: Rows) -> Any:
    """Return the share of equal numbers of each pair of rows, float32."""
    parts = [np.zeros(0, np.float32)]
    for start in range(0, len(rows), _COMPARED):
        pair = slice(start, start + _COMPARED)
        parts.append((numbers[rows[pair]] == numbers[others[pair]]).mean(axis=1, dtype=np.float32))
    return np.concatenate(parts)
