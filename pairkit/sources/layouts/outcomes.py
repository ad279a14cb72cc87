"""What a comparison says about completions: which one won, by how much, or their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import Offsets, flatten, indices_within, list_indices, mask, present
from pairkit.sources.layouts.winners import TIE, place_of
from pairkit.sources.reading.columns import Columns

Places = npt.NDArray[np.int64]
UNSAID, UNCLEAR = -1, -3  # of a place, next to TIE


def order_ranks(offsets: Offsets) -> pa.Array:
    """Rank completions by their place in their list, from 1."""
    return pa.array(indices_within(offsets) + 1, pa.int32())


def place_ranks(columns: Columns, name: str, offsets: Offsets, places: pa.Array | None) -> pa.Array:
    """Rank completions whose places in their list, from 0 or from 1, are written from the best one on."""
    size = int(offsets[-1])
    frame = pl.DataFrame(
        {
            "set": list_indices(offsets),
            "rank": indices_within(offsets) + 1,
            "place": pl.Series(pa.nulls(size) if places is None else places, dtype=pl.Int64),
        }
    )
    place = pl.col("place") - pl.col("place").min().over("set")
    whole = (
        (pl.col("place").min() <= 1)
        & (pl.col("place").min() >= 0)
        & (pl.col("place").null_count() == 0)
        & (pl.col("place").n_unique() == pl.len())
        & (pl.col("place").max() - pl.col("place").min() == pl.len() - 1)
    )
    frame = frame.with_columns(place=place, whole=whole.over("set"), said=pl.col("place").is_not_null())
    bad = np.zeros(columns.size, np.bool_)
    bad[frame.filter(pl.col("said") & ~pl.col("whole"))["set"].to_numpy()] = True
    columns.report(bad, "invalid_rank", "does not name the place of every completion once", name)
    rows = frame.filter(pl.col("whole"))
    ranks = np.zeros(size, np.int32)
    ranks[np.asarray(offsets)[rows["set"].to_numpy()] + rows["place"].to_numpy()] = rows["rank"].to_numpy()
    return pa.array(ranks, mask=ranks == 0)


def or_others(scores: pa.Array, others: pa.Array, offsets: Offsets) -> pa.Array:
    """Return the other scores, of another scale, of the sets in which no completion has a score."""
    owners = list_indices(offsets)
    none = np.bincount(owners, weights=present(scores), minlength=len(offsets) - 1) == 0
    return pc.if_else(pa.array(none[owners]), others, scores)


def from_one(ranks: pa.Array, offsets: Offsets) -> pa.Array:
    """Count the ranks of a set whose best is 0 from 1."""
    frame = pl.DataFrame({"set": list_indices(offsets), "rank": pl.from_arrow(ranks)})
    best = pl.col("rank").min().over("set")
    shifted_ranks = frame.select(pl.when(best == 0).then(pl.col("rank") + 1).otherwise(pl.col("rank")))
    return shifted_ranks.to_series().to_arrow().cast(pa.int32())


def winner_ranks(
    columns: Columns,
    votes: Sequence[str],
    offsets: Offsets,
    flat: pa.Array,
    names: Sequence[str],
    winners: Mapping[Any, str],
) -> pa.Array:
    """Rank the winner 1 and the others 2; all 1 in a tie, null where nothing is said.

    A winner is named as `place_of` reads it, by its model, or by its text. Anything else is `invalid_winner`.
    With several `votes` the winner is what most of them name, and a tie if no two agree more than others do.
    """
    places = np.stack([_places(columns, name, offsets, flat, names, winners) for name in votes])
    for name, place in zip(votes, places, strict=True):
        columns.report(place == UNCLEAR, "invalid_winner", "names none of the completions", name)
    place = places[0] if len(votes) == 1 else _majority(places)
    return _ranks(place, offsets)


def lost(
    columns: Columns,
    name: str,
    offsets: Offsets,
    flat: pa.Array,
    names: Sequence[str],
    winners: Mapping[Any, str],
) -> pa.Array:
    """Return the ranks of `winner_ranks` where a row also names the loser: those of any others become null.

    A loser who is the winner, or nobody, is `invalid_winner`.
    """
    ranks, owners = flat.field("rank"), list_indices(offsets)
    place = _places(columns, name, offsets, flat, names, winners)
    is_lost = place[owners] == indices_within(offsets)
    won = is_lost & (pc.fill_null(ranks, 0).to_numpy(zero_copy_only=False) == 1)
    both = np.bincount(owners, weights=won, minlength=columns.size) > 0
    columns.report(both, "invalid_winner", "names the winner", name)
    columns.report((place < 0) & (place != UNSAID), "invalid_winner", "names none of the completions", name)
    others = (place[owners] >= 0) & ~is_lost & mask(pc.greater(ranks, 1))
    return pc.if_else(pa.array(others), None, ranks)


def report_contradictions(columns: Columns, name: str, offsets: Offsets, flat: pa.Array) -> None:
    """Report sets whose winner has a lower score than another completion: one of the two is wrong."""
    numbers = {name: pl.Series(flat.field(name)) for name in ("rank", "score")}
    frame = pl.DataFrame({"set": list_indices(offsets), **numbers})
    won, lost = (pl.col("score").filter(place) for place in (pl.col("rank") == 1, pl.col("rank") > 1))
    wrong = frame.group_by("set").agg(wrong=won.min() < lost.max()).filter(pl.col("wrong"))
    where = np.zeros(columns.size, np.bool_)
    where[wrong["set"].to_numpy()] = True
    detail = "is lower for the winner than for another; --map prompt=..,completions=..,winner=.. reads none"
    columns.report(where, "contradicting_scores", detail, name)


def flag_ranks(columns: Columns, name: str, offsets: Offsets) -> pa.Array:
    """Rank by a list of 0 and 1 per completion, and one more for a tie; null where all are null."""
    counts = np.diff(offsets)
    cuts, values = flatten(columns.arrays[name])
    owners = list_indices(cuts)
    rows = owners if columns.owners is None else columns.owners[owners]
    flags = Columns({name: values}, len(values), columns.rows, columns.problems, rows).truth(name)
    has_flags = np.bincount(owners, weights=present(flags), minlength=columns.size) > 0
    hits = np.flatnonzero(pc.fill_null(flags, False).to_numpy(zero_copy_only=False))
    number = np.bincount(owners[hits], minlength=columns.size)
    place = np.full(columns.size, UNSAID)
    place[owners[hits]] = hits - cuts[owners[hits]]
    place[place == counts] = TIE
    columns.report(has_flags & (number != 1), "invalid_winner", "must be 1 once and 0 else", name)
    return _ranks(np.where(has_flags, place, UNSAID), offsets)


def _ranks(place: Places, offsets: Offsets) -> pa.Array:
    owners = list_indices(offsets)
    ranks = np.where((place[owners] == indices_within(offsets)) | (place[owners] == TIE), 1, 2)
    is_clear = (place >= 0) | (place == TIE)
    return pa.array(ranks, pa.int32(), mask=~is_clear[owners])


def _places(
    columns: Columns,
    name: str,
    offsets: Offsets,
    flat: pa.Array,
    names: Sequence[str],
    winners: Mapping[Any, str],
) -> Places:
    """Return the position of each row's winner, or TIE, UNSAID or UNCLEAR."""
    values = columns.arrays.get(name, pa.nulls(columns.size))
    if pa.types.is_nested(values.type):
        return np.where(present(values), UNCLEAR, UNSAID)
    encoding = pc.dictionary_encode(values.cast(pa.string()))
    places = [place_of(word, names, winners) for word in encoding.dictionary.to_pylist()]
    codes = np.array([UNCLEAR if place is None else place for place in places] + [UNSAID])
    place: Places = codes[pc.fill_null(encoding.indices, len(places)).to_numpy()]
    for field in ("model", "text"):
        others = _by_field(encoding, offsets, flat.field(field))
        place = np.where((place == UNCLEAR) | (place >= np.diff(offsets)), others, place)
        # A model that is named "b", or a text "b", and is first.
        place = np.where((place >= 0) & (others >= 0) & (others != place), UNCLEAR, place)
    return place


def _by_field(words: pa.DictionaryArray, offsets: Offsets, values: pa.Array) -> Places:
    """Return the position of the only completion whose model or text is a row's word, or else UNCLEAR."""
    row_words = words.dictionary_decode().take(pa.array(list_indices(offsets)))
    lower = pc.utf8_lower(pc.utf8_trim_whitespace(values))
    same = pc.equal(lower, pc.utf8_lower(pc.utf8_trim_whitespace(row_words)))
    hits = np.flatnonzero(pc.fill_null(same, False).to_numpy(zero_copy_only=False))
    owners = list_indices(offsets)[hits]
    place = np.full(len(offsets) - 1, UNCLEAR)
    place[owners] = indices_within(offsets)[hits]
    # Two completions of that model or text: it is not said which of them.
    place[np.bincount(owners, minlength=len(place)) > 1] = UNCLEAR
    return place


def _majority(places: npt.NDArray[np.int64]) -> Places:
    """Return for each row the place that most votes `[votes, rows]` name; a tie where several are as many."""
    rows = pl.DataFrame({"row": np.tile(np.arange(places.shape[1]), len(places)), "place": places.ravel()})
    most = (
        rows.filter(pl.col("place") != UNSAID)
        .group_by("row", "place")
        .agg(votes=pl.len())
        .filter(pl.col("votes") == pl.col("votes").max().over("row"))
        .group_by("row")
        .agg(place=pl.when(pl.len() == 1).then(pl.col("place").first()).otherwise(TIE))
    )
    place = np.full(places.shape[1], UNSAID)
    place[most["row"].to_numpy()] = most["place"].to_numpy()
    return place


def strength_scores(columns: Columns, name: str, offsets: Offsets) -> pa.Array:
    """Score pairs by a signed strength: below 0 the first is better, above 0 the second, 0 is a tie.

    The better one scores the strength and the other 0, so that the margin is the strength.
    """
    strengths = _per_pair(columns, name, offsets)
    own = pc.if_else(pa.array(indices_within(offsets) == 0), pc.negate(strengths), strengths)
    return pc.max_element_wise(own, pa.scalar(0.0), skip_nulls=False)


def margin_scores(columns: Columns, name: str, offsets: Offsets, ranks: pa.Array) -> pa.Array:
    """Score pairs whose winner is known: the strength, whatever its sign, for it, and 0 for the other."""
    size = pc.abs(_per_pair(columns, name, offsets))
    frame = pl.DataFrame({"set": list_indices(offsets), "rank": pl.from_arrow(ranks)})
    won = (pl.col("rank") == 1) & (pl.col("rank").max().over("set") > 1)
    return pc.if_else(frame.select(won.fill_null(False)).to_series().to_arrow(), size, pc.multiply(size, 0.0))


def preference_scores(columns: Columns, name: str, offsets: Offsets) -> pa.Array:
    """Score pairs by a preference from 1, the first is better, to 2, the second; 0 and 1.5 are ties.

    The scores of the two add up to 1. A preference of 0 is how AlpacaEval 1 writes a tie.
    """
    preference = _per_pair(columns, name, offsets)
    tie = pc.equal(preference, 0.0)
    inside = pc.and_(pc.greater_equal(preference, 1.0), pc.less_equal(preference, 2.0))
    outside = np.zeros(columns.size, np.bool_)
    bad = pc.fill_null(pc.invert(pc.or_(tie, inside)), False).to_numpy(zero_copy_only=False)
    outside[list_indices(offsets)[bad]] = True
    columns.report(outside, "invalid_score", "is neither 0 nor between 1 and 2", name)
    second = pc.if_else(tie, 0.5, pc.subtract(preference, 1.0))
    return pc.if_else(pa.array(indices_within(offsets) == 0), pc.subtract(1.0, second), second)


def _per_pair(columns: Columns, name: str, offsets: Offsets) -> pa.Array:
    """Return a number of each row once per completion; rows of other than two completions are reported."""
    has_value = present(columns.arrays.get(name, pa.nulls(columns.size)))
    detail = "compares two completions"
    columns.report(has_value & (np.diff(offsets) != 2), "length_mismatch", detail, name)
    return columns.number(name).take(pa.array(list_indices(offsets)))
