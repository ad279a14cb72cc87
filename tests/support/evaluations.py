"""Evaluations as a benchmark writes them, with scores of the test's choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pairkit.evaluation.answers import ANSWERS, REFERENCE_ANSWERS, Answer, Question, write_answers
from pairkit.evaluation.measures import Measured
from pairkit.evaluation.results import Outcome, Verdict, verdicts_table, write_outcome

JUDGE = {"model": "a-judge", "engine": "openai", "prompt": {"sha256": "ab" * 32}, "temperature": 0}


def measured(name: str, scores: Sequence[float | None], **fields: Any) -> Measured:
    """Scores of prompts p0, p1, ..., None where one is missing, as a share unless told."""
    numbers = np.array([np.nan if score is None else score for score in scores], dtype=np.float64)
    return Measured(name, [f"p{n}" for n in range(len(scores))], numbers, **{"share": True} | fields)


def write_evaluation(
    out: Path,
    found: Sequence[Measured],
    *,
    model: str = "a-model",
    benchmark: str = "alpaca_eval",
    version: str | None = "2",
    verdicts: Sequence[Verdict] | None = None,
    answers: Mapping[str, str] | None = None,
    reference_answers: Mapping[str, str] | None = None,
    prompts: Mapping[str, str] | None = None,
    details: Mapping[str, Mapping[str, Any]] | None = None,
    notes: Sequence[str] = (),
    **about: Any,
) -> Path:
    """Write an evaluation with these metrics, verdicts and texts to `out`, and return `out`."""
    for file, name, texts in (
        (ANSWERS, model, answers),
        (REFERENCE_ANSWERS, "a-reference", reference_answers),
    ):
        if texts is not None:
            asked = [
                Question(prompt, ((prompts or {}).get(prompt, f"Question {prompt}?"),)) for prompt in texts
            ]
            given = {prompt: Answer((text,), ("stop",)) for prompt, text in texts.items()}
            write_answers(out / file, name, asked, given)
    missing = {
        prompt: "no_verdict"
        for one in found
        for prompt, score in zip(one.prompt_ids, one.scores, strict=True)
        if np.isnan(score)
    }
    outcome = Outcome(
        benchmark,
        version,
        model,
        found,
        missing,
        details or {},
        {"reference": "a-reference", "judge": JUDGE} | about,
        None if verdicts is None else verdicts_table(verdicts),
        notes,
    )
    write_outcome(out, outcome, seed=0)
    return out
