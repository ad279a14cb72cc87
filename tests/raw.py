"""Small raw inputs for tests, in the layouts that are published."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

ASPECTS = ("helpfulness", "honesty", "instruction_following", "truthfulness")
MODELS = ("gpt-4", "llama-2-7b-chat", "alpaca-7b", "falcon-40b-instruct", "bard")


def ultrafeedback(path: Path, rows: int, *, seed: int = 0) -> Path:
    """Writes `rows` UltraFeedback rows as JSONL: repeated prompts, ties, odd sizes and unusable rows too."""
    random_ = random.Random(seed)
    lines = (json.dumps(_row(number, random_), ensure_ascii=False) for number in range(rows))
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def _row(number: int, random_: random.Random) -> dict[str, Any]:
    completions = [_completion(model, random_) for model in random_.sample(MODELS, random_.randint(1, 5))]
    instruction: str | None = f"Question {random_.randrange(2000)}: {_words(8, random_)}?"
    if number % 10 == 3:
        instruction = f"The same question {number % 7}?"
    if number % 97 == 5:
        instruction = None
    return {
        "source": "evol_instruct",
        "instruction": instruction,
        "models": [completion["model"] for completion in completions],
        "completions": completions,
        "correct_answers": ["None"],
        "incorrect_answers": ["None"],
    }


def _completion(model: str, random_: random.Random) -> dict[str, Any]:
    def annotation() -> dict[str, str]:
        rating = random_.choice(["1", "2", "3", "4", "5", "N/A"])
        return {"Rating": rating, "Rationale": _words(6, random_)}

    return {
        "annotations": {aspect: annotation() for aspect in ASPECTS},
        "critique": _words(12, random_),
        "custom_system_prompt": _words(5, random_),
        "fine-grained_score": 3.0,
        "model": model,
        "overall_score": float(random_.randint(1, 10)),
        "principle": "helpfulness",
        "response": _words(random_.randint(3, 60), random_),
    }


def _words(count: int, random_: random.Random) -> str:
    return " ".join(f"{random_.randrange(16**4):x}é" for _ in range(count))
