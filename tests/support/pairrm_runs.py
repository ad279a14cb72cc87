"""Runs of the ranker pairrm on random sets, and the same scores computed plainly, pair by pair."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from support import pairrm_model
from support.tiny import WORDS, candidate_sets, completion

from pairkit.rankers.pairrm.ranker import PairRMRecipe, load_pairrm
from pairkit.schema import SETS

LAYOUTS = ("PairRM", "PairRM-hf")
REAL_LIMITS = (1224, 412)
CONFIG, TOKENIZER, SAFETENSORS = "config.json", "tokenizer.json", "model.safetensors"
EMBEDDINGS = "pretrained_model.embeddings.word_embeddings.weight"


def sets(count: int = 12, seed: int = 0, longest: int = 40) -> pa.Table:
    """Make sets of 2 to 5 completions; every third set has a duplicate, an empty completion and noise."""
    random = np.random.default_rng(seed)

    def text() -> str:
        return " ".join(random.choice(WORDS, random.integers(1, longest)))

    rows: list[Any] = []
    for index in range(count):
        texts = [text() for _ in range(random.integers(2, 6))]
        extra = [completion(texts[0]), completion("")] if index % 3 == 0 else []
        noise = [completion(text(), origin="noise", model="noise:token_swap")] if index % 3 == 0 else []
        rows.append((text(), [completion(one) for one in texts] + extra + noise))
    return candidate_sets(rows)


class Progress:
    """An `Advance` that records its calls."""

    def __init__(self) -> None:
        self.told: list[int] = []

    def __call__(self, count: int = 1, /, note: str = "") -> None:
        self.told.append(count)


def run(model: Path, table: pa.Table, **recipe: Any) -> tuple[list[list[float | None]], dict[str, int]]:
    """Score the table; return the scores of each set's completions, and the counts."""
    progress = Progress()
    scored = load_pairrm(PairRMRecipe(model=str(model), **recipe)).score(table, progress)
    assert scored.sets.schema == SETS
    assert scored.sets["set_id"].equals(table["set_id"])
    assert (scored.quarantine.num_rows, scored.verdicts.num_rows) == (0, 0)
    rows = scored.sets["completions"].to_pylist()
    assert sum(progress.told) == sum(map(len, rows))
    for one in (one for row in rows for one in row):
        named = {score["name"]: score["value"] for score in one["scores"]}
        assert named == ({} if one["score"] is None else {"pairrm": one["score"]})
    return [[one["score"] for one in row] for row in rows], scored.counts


def plain_scores(
    model: Path, table: pa.Table, limits: tuple[int, int] = REAL_LIMITS
) -> list[list[float | None]]:
    """Score as llm-blender's `rank`: the mean over j, including i, of L[i, j] - L[j, i]."""
    found = []
    for row in table.to_pylist():
        texts = [one["text"] for one in row["completions"] if one["origin"] != "noise"]
        logits = np.zeros((len(texts), len(texts)))
        for i, j in permutations(range(len(texts)), 2):
            source = row["prompt"][0]["content"]
            logits[i, j] = pairrm_model.plain_logit(model, source, texts[i], texts[j], limits)
        scores: list[float | None] = (logits - logits.T).mean(axis=1).tolist()
        found.append(scores + [None] * (len(row["completions"]) - len(texts)))
    return found


def flat(scores: list[list[float | None]]) -> list[float | None]:
    return [score for row in scores for score in row]


def close(ours: list[list[float | None]], theirs: list[list[float | None]], tolerance: float = 1e-5) -> None:
    assert [score is None for score in flat(ours)] == [score is None for score in flat(theirs)]
    numbers = [np.array([score for score in flat(both) if score is not None]) for both in (ours, theirs)]
    assert np.abs(numbers[0] - numbers[1]).max() < tolerance
    assert numbers[1].std() > 0.05  # otherwise the comparison would show nothing
