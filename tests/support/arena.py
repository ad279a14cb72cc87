"""Arena-Hard's files, read once, and small ones of the same layouts."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from pairkit.evaluation.arena_hard.style_control import Battles

Line = dict[str, Any]


@cache
def lines(path: Path) -> list[Line]:
    """The rows of a gzipped file of JSON lines; some of their texts hold line separators of Unicode."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file.read().split("\n") if line]


def save(path: Path, rows: list[Line]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@cache
def public_battles(folder: Path) -> Battles:
    """The public battles of gpt-3.5-turbo-0125 with the public features, without any reader of pairkit."""
    rows = lines(folder / "arena_hard_v0.1_battles.jsonl.gz")
    features = {
        (row["uid"], row["model"]): [
            row[name] for name in ("token_len", "header_count", "list_count", "bold_count")
        ]
        for row in lines(folder / "arena_hard_v0.1_style.jsonl.gz")
    }
    places = {key: place for place, key in enumerate(dict.fromkeys(row["question_id"] for row in rows))}
    points = {"model_a": 0.0, "tie": 0.5, "model_b": 1.0}
    return Battles(
        np.zeros(len(rows), dtype=np.int64),
        np.array([places[row["question_id"]] for row in rows]),
        np.array([points[row["winner"]] for row in rows]),
        np.ones(len(rows)),
        *(
            np.array([features[row["question_id"], row[side]] for row in rows], dtype=float)
            for side in ("model_b", "model_a")
        ),
    )


# Four prompts; the reference's answers, and a model's that are longer, shorter, similar and empty.
KEYS = ["q0", "q1", "q2", "q3"]
PROMPTS = [f"Question {number}?" for number in range(4)]
BASE = ["An answer.", "Another **answer**, in some words.", "The same.", "x y z"]
OWN = ["# A much longer answer\n- one\n- two", "Short.", "Nearly the same.", ""]
# Labels of games 1 and 2: the small vector.
LABELS = [("B>>A", "A>B"), ("A=B", "A=B"), ("A>B", None), ("A>>B", "B>>A")]


def questions(version: str = "0.1") -> list[Line]:
    categories = ["hard_prompt", "hard_prompt", "hard_prompt", "creative_writing"]
    return [
        {"uid": key, "category": "arena-hard-v0.1" if version == "0.1" else category, "prompt": prompt}
        for key, prompt, category in zip(KEYS, PROMPTS, categories, strict=True)
    ]


def answers(model: str, texts: list[str]) -> list[Line]:
    """Answers in the layout of 2025, with lengths."""
    return [
        {
            "uid": key,
            "model": model,
            "messages": [
                {"role": "user", "content": prompt},
                {"role": "assistant", "content": {"answer": text}},
            ],
            "metadata": {"token_len": len(text.split())},
        }
        for key, prompt, text in zip(KEYS, PROMPTS, texts, strict=True)
    ]


def old_answers(model: str, texts: list[str]) -> list[Line]:
    """The same in the layout of 2024."""
    return [
        {
            "question_id": key,
            "model_id": model,
            "choices": [{"index": 0, "turns": [{"content": text, "token_len": len(text.split())}]}],
        }
        for key, text in zip(KEYS, texts, strict=True)
    ]


def judgments(labels: list[tuple[str | None, str | None]] = LABELS, model: str = "mine") -> list[Line]:
    """Verdicts in the layout of v0.1."""
    return [
        {
            "question_id": key,
            "model": model,
            "judge": "gpt-4-1106-preview",
            "games": [{"judgment": f"I say [[{label}]]", "score": label} for label in both],
        }
        for key, both in zip(KEYS, labels, strict=True)
    ]
