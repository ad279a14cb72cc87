"""MT-Bench's files, and small ones of the same layouts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from pairkit.engines.base import Completion, Request, Result

# One question per way of judging: without and with reference answers.
CATEGORIES = ["writing", "math", "stem", "coding"]
ANSWERS = [["one", "one two"], ["1", "2"], ["", "three"], ["say [[10]]", "x[0]"]]


def save(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def question_rows() -> list[dict[str, Any]]:
    return [
        {"question_id": 81 + n, "category": category, "turns": [f"First {n}?", f"Then {n}?"]}
        for n, category in enumerate(CATEGORIES)
    ]


def answer_rows(model: str = "mine", answers: list[list[str]] | None = None) -> list[dict[str, Any]]:
    return [
        {
            "question_id": 81 + n,
            "answer_id": f"id{n}",
            "model_id": model,
            "choices": [{"index": 0, "turns": list(turns)}],
            "tstamp": 1.5,
        }
        for n, turns in enumerate(answers or ANSWERS)
    ]


def reference_rows() -> list[dict[str, Any]]:
    return answer_rows("gpt-4", [[f"Reference {n}.1", f"Reference {n}.2"] for n in range(4)])


def judgment_rows(model: str = "mine", scores: tuple[float, ...] = (5.0,) * 8) -> list[dict[str, Any]]:
    names = {
        False: ("single-v1", "single-v1-multi-turn"),
        True: ("single-math-v1", "single-math-v1-multi-turn"),
    }
    return [
        {
            "question_id": 81 + place // 2,
            "model": model,
            "judge": ["gpt-4", names[CATEGORIES[place // 2] in ("math", "coding")][place % 2]],
            "user_prompt": "...",
            "judgment": f"Fine. Rating: [[{score:g}]]" if score != -1 else "I cannot rate this.",
            "score": score,
            "turn": place % 2 + 1,
            "tstamp": 100.0 + place,
        }
        for place, score in enumerate(scores)
    ]


def rates_by_length(request: Request) -> Result:
    """A judge that rates an answer by its number of words, at most 10, after quoting it."""
    question = request.prompt[-1]["content"]
    multi = re.findall(r"### Assistant A:\n(.*?)\n\n", question, re.DOTALL)
    single = re.findall(r"\[The Start of Assistant's Answer\]\n(.*?)\n\[The End", question, re.DOTALL)
    answers = multi or single
    answer = answers[-1]
    rating = max(1, min(10, len(answer.split())))
    text = f"You wrote: {' '.join(answers)}\nRating: [[{rating}]]"
    return tuple(Completion(text, 9, "stop", sampling) for sampling in request.samplings)
