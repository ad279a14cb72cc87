"""Duplicates by meaning: prompts whose embeddings are close, by semhash and a model2vec model.

Every prompt is compared with every other one, because an index that guesses neighbors finds others each time.
The texts and embeddings of all of them are in memory: it is for some 100,000 prompts, not for millions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pairkit.errors import ModelError
from pairkit.extras import extra_version
from pairkit.pipeline.prepass.near_duplicates import Rows, Twins

EXTRA, PACKAGE = "semantic", "semhash"


def semantic_duplicates(texts: list[str], rows: Rows, total: int, threshold: float, model: str) -> Twins:
    """Find the rows whose text is close to that of one before it; `texts` are those of `rows`, in order.

    Args:
        total: the number of rows of the source.
        threshold: cosine similarity of the embeddings.

    Raises `MissingExtraError` without semhash, and `ModelError` for a model that cannot be loaded.
    """
    encoder = load(model)
    from semhash import SemHash

    twin, similarity = np.full(total, -1, np.int64), np.zeros(total, np.float32)
    # With the place in the text, because semhash joins records of equal texts, which the caller keeps.
    records = [{"place": place, "text": text} for place, text in enumerate(texts)]
    index = SemHash.from_records(records, columns=["text"], model=encoder, ann_backend="basic")
    for each in index.self_deduplicate(threshold).filtered:
        row = rows[each.record["place"]]
        twin[row], similarity[row] = rows[each.duplicate_of["place"]], each.score
    return Twins(twin, similarity)


def load(model: str) -> Any:
    """Load a model2vec model. Raises `MissingExtraError` and `ModelError`."""
    extra_version(PACKAGE, EXTRA)
    from model2vec import StaticModel

    try:
        return StaticModel.from_pretrained(model)
    except Exception as error:  # one of many types of the hub's client, of safetensors and of json
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"dedup.model: {model} cannot be loaded as a model2vec model: {reason}") from error
