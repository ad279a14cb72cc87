"""What results hold next to the numbers: missing ratings, the judge's behavior, lengths, qualifications."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pairkit.evaluation.answers import Question
from pairkit.evaluation.mt_bench.judgments import Judgments
from pairkit.evaluation.mt_bench.questions import QUESTIONS, Questions
from pairkit.evaluation.mt_bench.scores import ratings_of
from pairkit.evaluation.mt_bench.verdicts import EMPTY, Judged, Texts
from pairkit.rankers.judge.statistics import judge_rates, rates_by_name

PUBLIC_JUDGE = "gpt-4"
PUBLIC_REFERENCES = "gpt-4"


def statistics(questions: Sequence[Question], texts: Texts, judging: Judged) -> dict[str, Any]:
    """Return entries of results.json: ratings by what became of them, the judge's behavior, lengths."""
    missing = Counter(verdict.reason for verdict in judging.verdicts if verdict.points is None)
    entries: dict[str, Any] = {
        "ratings": {
            "of": len(judging.verdicts),
            "rated": sum(verdict.points is not None for verdict in judging.verdicts),
            "empty_rated_1": sum(verdict.verdict == EMPTY for verdict in judging.verdicts),
            "quoted_verdicts": judging.counts.get("quoted_verdicts", 0),
            "missing": {str(reason): count for reason, count in sorted(missing.items())},
        },
        "judge_statistics": rates_by_name(judge_rates(judging.counts)),
    }
    if texts:
        entries["answers"] = _lengths(questions, texts, judging)
    return entries


def details(questions: Sequence[Question], texts: Texts, judging: Judged) -> dict[str, dict[str, Any]]:
    """Return what scores.parquet holds of a question: its ratings, and its answers' lengths in characters."""
    ratings = ratings_of(questions, judging.verdicts)
    entries: dict[str, dict[str, Any]] = {}
    for question, row in zip(questions, ratings, strict=True):
        entries[question.prompt_id] = {"ratings": [None if np.isnan(rating) else rating for rating in row]}
        if question.prompt_id in texts:
            entries[question.prompt_id]["lengths"] = [len(text) for text in texts[question.prompt_id]]
    return entries


def missing(judging: Judged) -> dict[str, str]:
    """Return why a question lacks a rating of one turn or both, by prompt_id."""
    reasons: dict[str, str] = {}
    for verdict in judging.verdicts:
        if verdict.points is None:
            reasons.setdefault(verdict.prompt_id, verdict.reason or "no_rating")
    return reasons


def notes(
    questions: Questions, judging: Judged, judge: str, references: str | None, judgments: Judgments | None
) -> list[str]:
    """Return sentences that qualify the numbers, shown next to them."""
    return [
        *_of_questions(questions),
        *_of_judge(judge, references),
        *_of_missing(judging),
        *_of_stored(judgments),
    ]


def _of_questions(questions: Questions) -> Iterator[str]:
    count = len(questions.listed)
    if count < QUESTIONS:
        yield f"{count:,} of MT-Bench's {QUESTIONS} questions: no number for a published table"
    elif not questions.known:
        yield f"another version of the questions than MT-Bench's {QUESTIONS}"


def _of_judge(judge: str, references: str | None) -> Iterator[str]:
    if judge != PUBLIC_JUDGE:
        yield f"judged by {judge}, not by {PUBLIC_JUDGE}: never in one column with published numbers"
    if references not in (None, PUBLIC_REFERENCES):
        yield f"the reference answers are those of {references}, not the public ones of {PUBLIC_REFERENCES}"


def _of_missing(judging: Judged) -> Iterator[str]:
    reasons = Counter(verdict.reason for verdict in judging.verdicts if verdict.points is None)
    if reasons:
        summary = ", ".join(f"{count:,} {reason}" for reason, count in sorted(reasons.items(), key=str))
        yield (
            f"{reasons.total():,} of {len(judging.verdicts):,} ratings are missing ({summary}): `average` is "
            "without them, as in published tables; `average_missing_as_1` counts each of them as 1"
        )
    if empty := sum(verdict.verdict == EMPTY for verdict in judging.verdicts):
        yield f"{empty:,} empty answers were rated 1 without asking"


def _of_stored(judgments: Judgments | None) -> Iterator[str]:
    if judgments is not None and judgments.others:
        yield f"{judgments.others:,} stored scores are not the rating in the judge's words, which counts"


def _lengths(questions: Sequence[Question], texts: Texts, judging: Judged) -> dict[str, Any]:
    lengths, ratings = [], []
    for verdict in judging.verdicts:
        if verdict.prompt_id in texts:
            lengths.append(len(texts[verdict.prompt_id][verdict.turn - 1]))
            ratings.append(np.nan if verdict.points is None else verdict.points)
    return {
        "mean_length": float(np.mean(lengths)),
        "empty": sum(not text.strip() for each in texts.values() for text in each),
        "correlation_of_rating_and_length": _correlation(np.array(lengths, float), np.array(ratings)),
    }


def _correlation(lengths: np.ndarray, ratings: np.ndarray) -> float | None:
    """Return Pearson's correlation over the rated answers; None where one of the two does not vary."""
    mask = ~np.isnan(ratings)
    if mask.sum() < 2 or not lengths[mask].std() or not ratings[mask].std():
        return None
    return float(np.corrcoef(lengths[mask], ratings[mask])[0, 1])
