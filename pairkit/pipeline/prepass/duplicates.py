"""Which sets of a source leave as duplicates of others: exact ones first, then near ones among those left."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pairkit.pipeline.prepass.columns import Columns, Mask
from pairkit.pipeline.prepass.keep_list import MERGED, texts_of
from pairkit.pipeline.prepass.near_duplicates import Rows, Signatures, Twins, near_duplicates
from pairkit.pipeline.prepass.settings import DedupRecipe

EXACT, NEAR, SEMANTIC = "exact_duplicate", "near_duplicate", "semantic_duplicate"
# Finds duplicates by meaning among rows, which are in order of preference.
ByMeaning = Callable[[Rows], Twins]


class Duplicates(NamedTuple):
    """The sets that leave, by row, with reason and detail; `merged` are those of them that have a target."""

    rows: Rows
    reasons: pa.Array
    details: pa.Array
    merged: Rows
    targets: Rows


def duplicates(
    columns: Columns,
    signatures: Signatures | None,
    settings: DedupRecipe,
    by_meaning: ByMeaning | None = None,
) -> Duplicates:
    """Find the duplicates among the sets that are not leaving already."""
    alive = np.flatnonzero(~columns.leaving)
    prompts, group = np.unique(columns.prompts[alive], return_inverse=True)
    merging = settings.exact == "merge"
    # Of one prompt the preferred set stays; where sets are merged, the first, which is given the others'.
    head = _heads(alive if merging else columns.preferred(alive, settings.keep), alive, group)
    together = _mergeable(columns, alive, group, head) if merging else np.zeros(len(prompts), np.bool_)
    twin = head[group]
    others = twin != alive
    near, similarity = np.full(len(alive), -1, np.int64), np.zeros(len(alive), np.float32)
    if signatures is not None and settings.threshold is not None:
        heads = np.sort(head)
        heads = columns.preferred(heads[signatures.worded[heads]], settings.keep)
        twins = near_duplicates(signatures.numbers, heads, settings.threshold)
        # Sets of one prompt leave together.
        near, similarity = twins.row[twin], twins.similarity[twin]
    words_alike = near >= 0
    if by_meaning is not None:
        twins = by_meaning(columns.preferred(np.sort(alive[(twin == alive) & ~words_alike]), settings.keep))
        near = np.where(words_alike, near, twins.row[twin])
        similarity = np.where(words_alike, similarity, twins.similarity[twin])
    exact = others & np.bool_(not merging)
    alike = (near >= 0) & ~exact
    # Not into a set that leaves, with which they leave as well.
    joined = others & together[group] & (near < 0)
    kinds = [NEAR if by_words else SEMANTIC for by_words in words_alike[alike].tolist()]
    reasons = [EXACT] * int(exact.sum()) + kinds + [MERGED] * int(joined.sum())
    same = [f"the prompt is that of set {each}" for each in texts_of(columns.ids[twin[exact]])]
    close = [
        f"the prompt is {share:.0%} like that of set {each}"
        for share, each in zip(similarity[alike].tolist(), texts_of(columns.ids[near[alike]]), strict=True)
    ]
    details = same + close + [None] * int(joined.sum())
    return Duplicates(
        np.concatenate([alive[exact], alive[alike], alive[joined]]),
        pa.array(reasons, pa.string()),
        pa.array(details, pa.string()),
        alive[joined],
        twin[joined],
    )


def _heads(ordered: Rows, alive: Rows, group: Rows) -> Rows:
    """Return the first row of each group in the order of `ordered`, which are the rows `alive`."""
    groups = group[np.searchsorted(alive, ordered)]
    _, first = np.unique(groups, return_index=True)
    return ordered[first]


def _mergeable(columns: Columns, alive: Rows, group: Rows, head: Rows) -> Mask:
    """Return for each group whether all of its sets can be merged; its head then counts as all of them."""
    # All or none, because what stays is in one order.
    together = np.ones(len(head), np.bool_)
    np.logical_and.at(together, group, columns.mergeable[alive])
    margin, count = np.full(len(head), -np.inf, np.float32), np.zeros(len(head), np.int32)
    np.maximum.at(margin, group, columns.margin[alive])
    np.add.at(count, group, columns.count[alive])
    columns.margin[head[together]], columns.count[head[together]] = margin[together], count[together]
    return together
