"""Which sets of a source leave as duplicates of others: exact ones first, then near ones among those left."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pairkit.pipeline.prepass.columns import BARE, EMPTY, RANKED, SCORED, Columns
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
    *,
    reranked: bool = False,
) -> Duplicates:
    """Find the duplicates among the sets that are not leaving already.

    With `reranked` no score of the source is compared afterwards, so that sets are merged across scales.
    """
    alive = np.flatnonzero(~columns.leaving)
    _, group = np.unique(columns.prompts[alive], return_inverse=True)
    merging = settings.exact == "merge"
    # Of one prompt the preferred set stays; where sets are merged, the first, which is given the others'.
    head = _heads(alive if merging else columns.preferred(alive, settings.keep), alive, group)
    into = _merged(columns, alive, group, reranked=reranked) if merging else alive
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
    joined = (into != alive) & (near < 0)
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
        into[joined],
    )


def _heads(ordered: Rows, alive: Rows, group: Rows) -> Rows:
    """Return the first row of each group in the order of `ordered`, which are the rows `alive`."""
    groups = group[np.searchsorted(alive, ordered)]
    _, first = np.unique(groups, return_index=True)
    return ordered[first]


def _merged(columns: Columns, alive: Rows, group: Rows, *, reranked: bool) -> Rows:
    """Return for each of the rows `alive` what it is merged into: the first set of its prompt and kind.

    That set then counts as all of them. Of a kind are the sets of one source whose completions all have
    scores, and those whose completions have neither scores nor ranks; one without completions is of any.
    """
    has = columns.has[alive]
    # By source, because the scores of two have two scales; each ranked set is alone, its ranks tell no more.
    kind = np.where(has == SCORED, 0 if reranked else columns.source[alive].astype(np.int64), -1)
    kind = np.where(has == BARE, 0 if reranked else -1, kind)
    kind = np.where(has == RANKED, -2 - alive, kind)
    known = np.flatnonzero(has < EMPTY)
    prompts, first = np.unique(group[known], return_index=True)
    of_prompt = np.full(int(group.max(initial=-1)) + 1, -1, np.int64)
    of_prompt[prompts] = kind[known[first]]
    kind = np.where(has == EMPTY, of_prompt[group], kind)
    _, first, of_kind = np.unique(np.stack([group, kind]), axis=1, return_index=True, return_inverse=True)
    into = alive[first[of_kind]]
    margin, count = np.full(len(first), -np.inf, np.float32), np.zeros(len(first), np.int32)
    np.maximum.at(margin, of_kind, columns.margin[alive])
    np.add.at(count, of_kind, columns.count[alive])
    columns.margin[alive[first]], columns.count[alive[first]] = margin, count
    return into
