"""Rankers without a model: what the data has, the length of a completion, chance.

Each is a function of a table of sets and its settings, as the rankers of a build that ask no model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import with_fields
from pairkit.errors import InputError, unknown
from pairkit.intervals import Floats
from pairkit.rankers.named import order_by
from pairkit.rankers.shown import shown_texts
from pairkit.schema import StageResult
from pairkit.sets import assemble, completions, map_batches


def stored(sets: pa.Table, block: Any) -> StageResult:
    """Return `sets` with the named score of the block as `score`, or with their own.

    Without any own score it is minus the rank. Raises `InputError` for a score that no completion has.
    """
    flat = _flat(sets)
    if block.score is not None:
        names = pc.unique(pc.struct_field(pc.list_flatten(pc.struct_field(flat, "scores")), "name"))
        if block.score not in names.to_pylist():
            score_names = sorted(names.to_pylist())
            if not score_names:
                raise InputError(
                    f"annotations={block.score}: the completions of the data have no named scores"
                )
            raise InputError(str(unknown("score of the completions", block.score, score_names)))
        return StageResult(order_by(sets, block.score))
    if has_own_scores(sets):
        return StageResult(sets)
    return StageResult(_scored(sets, lambda batch, flat: -_ranks(flat)))


def has_own_scores(sets: pa.Table) -> bool:
    """Return whether a completion has a score of its own, besides a rank."""
    flat = _flat(sets)
    return bool(pc.struct_field(flat, "score").null_count < len(flat))


def by_length(sets: pa.Table, block: Any) -> StageResult:
    """Score each completion by its characters, as rankers are shown it."""
    return StageResult(_scored(sets, lambda batch, flat: lengths(flat, block.thoughts)))


def by_chance(sets: pa.Table, block: Any) -> StageResult:
    """Score each text of a set by a hash of the seed, the prompt and the text, in [0, 1)."""

    def score(batch: pa.RecordBatch, flat: pa.StructArray) -> Floats:
        owners = pc.list_parent_indices(batch["completions"])
        prompts = batch["prompt_id"].take(owners).to_pylist()
        texts = shown_texts(flat, "show")
        return np.array(
            [_uniform(f"{block.seed}/{prompt}/{text}") for prompt, text in zip(prompts, texts, strict=True)]
        )

    return StageResult(_scored(sets, score))


def lengths(flat: pa.StructArray, thoughts: Any = "strip") -> Floats:
    """Return the characters of each completion, with its tool calls."""
    return np.array([len(text) for text in shown_texts(flat, thoughts)], dtype=np.float64)


def _uniform(key: str) -> float:
    # A text may hold half of a surrogate pair, which has no UTF-8.
    digest = hashlib.sha256(key.encode(errors="surrogatepass")).digest()
    # 48 bits, all of which a float holds.
    return int.from_bytes(digest[:6]) / 2**48


def _ranks(flat: pa.StructArray) -> Floats:
    ranks: Floats = pc.struct_field(flat, "rank").cast(pa.float64()).to_numpy(zero_copy_only=False)
    return ranks


def _flat(sets: pa.Table) -> pa.StructArray:
    return pc.list_flatten(sets["completions"]).combine_chunks()


def _scored(sets: pa.Table, score: Callable[[pa.RecordBatch, pa.StructArray], Floats]) -> pa.Table:
    def with_scores(batch: pa.RecordBatch) -> pa.RecordBatch:
        flat = completions(batch)
        values = pa.array(score(batch, flat), pa.float64(), from_pandas=True)
        owners = pc.list_parent_indices(batch["completions"]).to_numpy()
        return assemble(batch, with_fields(flat, score=values), owners, np.arange(len(flat)))

    return map_batches(sets, with_scores)
