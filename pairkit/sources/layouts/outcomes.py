"""What a comparison says about completions: which one won, by how much, or their order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import Offsets, is_number, is_text, mask, present
from pairkit.sources.reading.columns import Columns

TIES = (
    "tie",
    "draw",
    "equal",
    "same",
    "both",
    "neither",
    "bothbad",
    "both_bad",
    "tie (bothbad)",
    "tie(bothbad)",
)
# The completion at a position, by the words of Chatbot Arena and others.
PLACES = (
    ("a", "model_a", "assistant_a", "response_a", "first", "left", "chosen_a"),
    ("b", "model_b", "assistant_b", "response_b", "second", "right", "chosen_b"),
)


def order_ranks(offsets: Offsets) -> pa.Array:
    """Rank completions by their place in their list, from 1."""
    counts = np.diff(offsets)
    return pa.array(np.arange(int(offsets[-1])) - np.repeat(offsets[:-1], counts) + 1, pa.int32())


def winner_ranks(
    columns: Columns, name: str, offsets: Offsets, flat: pa.Array, names: Sequence[str]
) -> pa.Array:
    """Rank the winner 1 and the others 2; all 1 in a tie, null where nothing is said.

    A winner is a position from 0, a letter, a word of `PLACES`, the name of a completion's column (`names`)
    or of its model. Anything else is `invalid_winner`.
    """
    counts = np.diff(offsets)
    place = np.full(columns.size, -1)  # -1: not said, -2: a tie
    values = columns.arrays.get(name, pa.nulls(columns.size))
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.int8())
    said = present(values)
    if is_number(values.type):
        numbers = pc.fill_null(values.cast(pa.float64()), -1).to_numpy()
        place = np.where(said & (numbers == np.floor(numbers)) & (numbers >= 0), numbers, -1).astype(np.int64)
    elif is_text(values.type):
        place = _places_of_words(values, offsets, flat, names)
    unclear = said & ((place == -1) | (place >= counts))
    columns.report(unclear, "invalid_winner", "names none of the completions", name)
    owners = np.repeat(np.arange(columns.size), counts)
    within = np.arange(int(offsets[-1])) - np.repeat(offsets[:-1], counts)
    ranks = np.where((place[owners] == within) | (place[owners] == -2), 1, 2)
    return pa.array(ranks, pa.int32(), mask=(~said | unclear)[owners])


def _places_of_words(
    values: pa.Array, offsets: Offsets, flat: pa.Array, names: Sequence[str]
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    words = pc.utf8_lower(pc.utf8_trim_whitespace(values.cast(pa.string())))
    place = np.full(len(values), -1)
    counts = np.diff(offsets)
    for position in range(int(counts.max(initial=0))):
        known = [str(position), *(PLACES[position] if position < len(PLACES) else ())]
        known += [names[position].lower()] if len(names) > 1 else []
        place[mask(pc.is_in(words, pa.array(known)))] = position
        # The models of the completions at this position, one per row that has one.
        index = np.where(counts > position, offsets[:-1] + position, 0)
        models = flat.field("model").take(pa.array(index, mask=counts <= position))
        named = mask(pc.equal(pc.utf8_lower(models), words)) & (place == -1)
        place[named] = position
    place[mask(pc.is_in(words, pa.array(TIES)))] = -2
    return place


def strength_scores(columns: Columns, name: str, offsets: Offsets) -> pa.Array:
    """Score pairs by a signed strength: below 0 the first is better, above 0 the second, 0 is a tie.

    The better one scores the strength and the other 0, so that the margin is the strength.
    """
    counts = np.diff(offsets)
    columns.report(counts != 2, "length_mismatch", "a strength compares two completions", name)
    numbers = columns.number(name)
    owners = np.repeat(np.arange(columns.size), counts)
    within = np.arange(int(offsets[-1])) - np.repeat(offsets[:-1], counts)
    signed = numbers.take(pa.array(owners))
    own = pc.if_else(pa.array(within == 0), pc.negate(signed), signed)
    return pc.max_element_wise(own, pa.scalar(0.0), skip_nulls=False)
