"""Candidate sets of any number with short texts, as JSON lines: what a build costs besides its texts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

COMPLETIONS = 4
WORDS = 30  # of a completion; a prompt has half as many
LETTERS = np.array(list("etaoinshrdlucmfwyp"))


def write(path: Path, rows: int, *, seed: int = 0) -> None:
    """Write `rows` rows of a prompt, four completions and their scores."""
    random = np.random.default_rng(seed)
    words = ["".join(random.choice(LETTERS, length)) for length in random.integers(2, 10, 5000)]
    with path.open("w", encoding="utf-8") as file:
        for row in range(rows):
            *completions, prompt = (
                " ".join(words[place] for place in places)
                for places in random.integers(0, len(words), (COMPLETIONS + 1, WORDS))
            )
            scores = (random.integers(1, 101, COMPLETIONS) / 10).tolist()
            line = {
                "prompt": f"{row} {prompt[: len(prompt) // 2]}",
                "completions": completions,
                "scores": scores,
            }
            file.write(json.dumps(line) + "\n")
