"""Candidate sets as the token ids of PairRM: the source, and each completion with a place for its prefix.

The ids are those that the ranker `pairrm` compares, made by the same encoder, cuts included. A set is stored
once, not once per pair; `pairrm.pairs` joins two of its completions when they are read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa

from pairkit.rankers.pairrm.text import Encoded, Encoder
from pairkit.rankers.shown import shown_texts
from pairkit.schema import COMPLETION
from pairkit.training.tokens.choose import Completion, Unusable, Wanted, choose
from pairkit.training.tokens.conversations import SHOWN
from pairkit.training.tokens.sets import record_batch
from pairkit.training.tokens.token_set import Column, Refused, TokenSet

# What is counted of sets, and the reason of one whose completions are all the same to the model.
CUT_PROMPTS, CUT_COMPLETIONS, SAME = "prompts_cut", "completions_cut", "identical_completions"


class Encodes(Protocol):
    """A format that has the encoder of a PairRM."""

    encoder: Encoder


def comparison_batches(
    tables: Iterable[pa.Table],
    format: Encodes,
    *,
    wanted: Wanted,
    advance: Callable[[int], None],
    thoughts: Literal["train", "strip"] = "train",
    max_length: int,
) -> Iterator[pa.RecordBatch]:
    """Tokenize tables of `schema.SETS`: yield one batch of `sets.SCHEMA` per table, row for row.

    A set is refused where `choose` refuses it, and where all of its completions of different rank have the
    same ids. Of completions with the same ids the best is kept, and the others are counted.

    Args:
        wanted: "ordered"; see `choose`.
        advance: called with the number of sets done.
        thoughts: whether the model reads the thoughts of completions.
        max_length: not read, because the encoder has the limits.
    """
    for table in tables:
        chosen = [_chosen(row, wanted) for row in table.to_pylist()]
        usable = [(row, some) for row, some in chosen if not isinstance(some, Refused)]
        # One call per table, because fast tokenizers work on many texts in parallel.
        encodings = iter(
            format.encoder.sets(
                [row["prompt"] for row, _ in usable],
                [shown_texts(pa.array(some, COMPLETION), SHOWN[thoughts]) for _, some in usable],
            )
        )
        rows: list[TokenSet | Refused] = []
        row_counts: list[Mapping[str, int]] = []
        for row, some in chosen:
            counts: Counter[str] = Counter()
            rows.append(
                some if isinstance(some, Refused) else _set(row["set_id"], some, next(encodings), counts)
            )
            row_counts.append(+counts)  # without zeros
        yield record_batch(rows, noted=row_counts)
        advance(table.num_rows)


def _chosen(
    row: Mapping[str, Any], wanted: Wanted
) -> tuple[Mapping[str, Any], Sequence[Completion] | Refused]:
    try:
        return row, choose(row["completions"], wanted)
    except Unusable as refusal:
        return row, Refused(row["set_id"], refusal.reason, refusal.detail)


def _set(
    set_id: str, completions: Sequence[Completion], encoding: Encoded, counts: Counter[str]
) -> TokenSet | Refused:
    by_ids: dict[bytes, Column] = {}
    for completion, ids in zip(completions, encoding.completions, strict=True):
        column = Column(ids.astype(np.int32), completion["rank"], completion["score"], completion["origin"])
        # The first is the best, because completions are stored best first.
        by_ids.setdefault(ids.tobytes(), column)
    columns = tuple(by_ids.values())
    counts[SAME] += len(completions) - len(columns)
    if len({(column.origin == "noise", column.rank) for column in columns}) < 2:
        return Refused(set_id, SAME, "the completions of different rank are the same tokens to the model")
    counts[CUT_PROMPTS] += encoding.source_truncated
    counts[CUT_COMPLETIONS] += encoding.truncated
    return TokenSet(set_id, encoding.source.astype(np.int32), columns)
