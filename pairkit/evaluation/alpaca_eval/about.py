"""What results hold next to the numbers: lengths, the judge's biases, and sentences that qualify them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from pairkit.evaluation.alpaca_eval.annotations import PUBLIC_JUDGE, PUBLIC_JUDGE_MODEL
from pairkit.evaluation.alpaca_eval.gamed import Gamed
from pairkit.evaluation.alpaca_eval.judging import read_prompt
from pairkit.evaluation.alpaca_eval.questions import QUESTIONS, REFERENCE, Reference
from pairkit.evaluation.alpaca_eval.scores import Scores, public_numbers
from pairkit.evaluation.alpaca_eval.verdicts import Judged
from pairkit.evaluation.win_rates import longer_wins
from pairkit.rankers.judge.statistics import judge_rates, rates_by_name


def statistics(
    reference: Reference, texts: Mapping[str, str], scores: Scores, judging: Judged
) -> dict[str, Any]:
    """Return entries of results.json: the public numbers, lengths, the LC model, the judge's behavior."""
    entries: dict[str, Any] = {
        "as_published": public_numbers(scores),
        "answers": _answers(reference, texts),
        "judge_statistics": rates_by_name(judge_rates(judging.counts)) | _longer(reference, texts, scores),
    }
    if scores.controlled is not None:
        entries["length_control"] = {"weights": scores.controlled.weights._asdict()}
    return entries


def details(reference: Reference, texts: Mapping[str, str], scores: Scores) -> dict[str, dict[str, Any]]:
    """Return what scores.parquet holds of a question: lengths in characters, and whether texts are equal."""
    return {
        question.prompt_id: {
            "length": len(texts[question.prompt_id]),
            "reference_length": len(reference.answers[question.prompt_id]),
            "equal": texts[question.prompt_id] == reference.answers[question.prompt_id],
        }
        for question in reference.questions
        if question.prompt_id in texts
    }


def notes(
    reference: Reference,
    texts: Mapping[str, str],
    scores: Scores,
    judge: Mapping[str, Any],
    gamed: Gamed | None,
) -> list[str]:
    """Return sentences that qualify the numbers, shown next to them."""
    return [
        *_of_questions(reference),
        *_of_verdicts(scores),
        *_of_judge(judge, controlled=scores.controlled is not None),
        *_of_lengths(reference, texts),
        *_of_control(reference, scores, gamed),
    ]


def _of_questions(reference: Reference) -> Iterator[str]:
    count = len(reference.questions)
    if count < QUESTIONS:
        yield f"{count:,} of AlpacaEval's {QUESTIONS} questions: no number for a published table"
    elif not reference.known:
        yield "another version of the questions than AlpacaEval 2's 805"
    if reference.generator != REFERENCE:
        yield f"the reference is {reference.generator}, not {REFERENCE}: no number for the published table"


def _of_verdicts(scores: Scores) -> Iterator[str]:
    count, verdict_count = len(scores.points), int((~np.isnan(scores.points)).sum())
    if verdict_count < count:
        yield f"{verdict_count:,} of {count:,} questions have a verdict: no number for a published table"
    if verdict_count < QUESTIONS and scores.controlled is not None:
        yield (
            f"the length control was fitted to these {verdict_count:,} alone: it is another fit than that of "
            "all, with other weights and another scale of lengths"
        )


def annotator(judge: Mapping[str, Any]) -> str:
    """Return the name of a judge in annotations, with what it does otherwise than the public one."""
    others = []
    if judge.get("verdict") == "both_orders":
        others.append("both orders")
    if judge.get("prompt_sha256") not in (None, read_prompt(None).sha256):
        others.append(f"prompt {judge['prompt']}")
    return f"{judge['name']} ({', '.join(others)})" if others else str(judge["name"])


def _of_judge(judge: Mapping[str, Any], *, controlled: bool) -> Iterator[str]:
    name = annotator(judge)
    if name in (PUBLIC_JUDGE, PUBLIC_JUDGE_MODEL):
        return
    yield f"judged by {name}, not by {PUBLIC_JUDGE}: never in one column with published numbers"
    if controlled:
        yield (
            f"the length control uses the gamed runs and difficulties of {PUBLIC_JUDGE_MODEL}'s verdicts, "
            "not of this judge's"
        )


def _of_lengths(reference: Reference, texts: Mapping[str, str]) -> Iterator[str]:
    if texts:
        about = _answers(reference, texts)
        yield (
            f"{about['mean_length']:,.0f} characters per answer, the reference "
            f"{about['reference_mean_length']:,.0f}; {about['equal_to_reference']:,} "
            f"answers equal to the reference's, {about['empty']:,} empty"
        )


def _of_control(reference: Reference, scores: Scores, gamed: Gamed | None) -> Iterator[str]:
    if scores.controlled is None:
        if scores.why_not is not None:
            yield f"no length-controlled win rate: {scores.why_not}"
        return
    assert scores.public is not None
    if gamed is not None and not gamed.known:
        yield (
            f"{gamed.file.file} has other values than AlpacaEval's table of gamed runs: the length-"
            "controlled win rate is none for a published table"
        )
    plain, controlled = scores.public.win_rate, 100 * scores.controlled.value
    if controlled < min(plain - plain / 4, plain - 10) or controlled > max(
        plain + (100 - plain) / 4, plain + 10
    ):
        yield (
            f"the length-controlled win rate ({controlled:.2f}) is far from the win rate ({plain:.2f}): the "
            "answers are far longer or shorter than the reference's, or their lengths are gamed"
        )
    if gamed is not None and scores.length is not None:
        low, high = gamed.usual
        if not low <= scores.length <= high:
            side = (
                "shorter than those of its concise run"
                if scores.length > high
                else "longer than its verbose run's"
            )
            yield (
                f"relative to the reference's, the answers are {side} on average: the length control "
                "extrapolates"
            )


def _answers(reference: Reference, texts: Mapping[str, str]) -> dict[str, Any]:
    base = [reference.answers[question.prompt_id] for question in reference.questions]
    return {
        "mean_length": float(np.mean([len(text) for text in texts.values()])) if texts else None,
        "reference_mean_length": float(np.mean([len(text) for text in base])),
        "equal_to_reference": sum(text == reference.answers[key] for key, text in texts.items()),
        "empty": sum(not text.strip() for text in texts.values()),
    }


def _longer(reference: Reference, texts: Mapping[str, str], scores: Scores) -> dict[str, Any]:
    return longer_wins(
        (len(texts[question.prompt_id]) - len(reference.answers[question.prompt_id]), points)
        for question, points in zip(reference.questions, scores.points, strict=True)
        if question.prompt_id in texts
    )
