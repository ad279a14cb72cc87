"""Recipes and data for training a tiny PairRM: the more often "red" is in a completion, the better it is."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
from support import pairrm_model
from support.tiny import WORDS, candidate_sets, completion

from pairkit.recipes import validate
from pairkit.training.recipe import TrainRecipe

OTHERS = [word for word in WORDS if word != "red"]


def red_sets(count: int, seed: int = 0) -> pa.Table:
    """Make sets of two to four completions; the last two of every third set tie."""
    random = np.random.default_rng(seed)
    rows: list[Any] = []
    for index in range(count):
        size = 2 + index % 3
        texts = ["red " * (size - place) + _words(random) for place in range(size)]
        ranks = list(range(1, size + 1))
        if index % 3 == 1:
            ranks[-1] = ranks[-2]
        rows.append(
            (_words(random), [completion(text, rank) for text, rank in zip(texts, ranks, strict=True)])
        )
    return candidate_sets(rows)


def _words(random: np.random.Generator) -> str:
    return " ".join(random.choice(OTHERS, random.integers(1, 7)))


def recipe(data: Path, model: Path, **fields: Any) -> TrainRecipe:
    """Four steps of eight pairs, without a tracker."""
    base = {
        "data": str(data), "model": str(model), "loss": "pairrm", "sets_per_step": 8, "max_steps": 4,
        "trackers": [], "optimizer": {"learning_rate": 1e-3, "warmup": 0.25},
    }  # fmt: skip
    return validate(TrainRecipe, base | fields)


def beside(model: Path) -> Path:
    """Return a PairRM next to a model, made when it is first asked for."""
    folder = model.with_name(f"{model.name}-pairrm")
    if not folder.exists():
        mine = pairrm_model.save(folder.with_name(uuid4().hex), "PairRM-hf")
        with suppress(OSError):  # another process was first
            mine.rename(folder)
    return folder
