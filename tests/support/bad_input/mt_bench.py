"""MT-Bench's files that cannot be used."""

from __future__ import annotations

from typing import Any

from support.bad_input.case import Case, lines
from support.mt_bench import answer_rows, judgment_rows, question_rows, reference_rows


def files(**changed: list[dict[str, Any]]) -> dict[str, bytes]:
    rows = {
        "question": question_rows(),
        "gpt4": reference_rows(),
        "mine": answer_rows(),
        "judged": judgment_rows(),
    } | changed
    return {f"{name}.jsonl": lines(*found) for name, found in rows.items()}


def with_(rows: list[dict[str, Any]], place: int, **fields: Any) -> list[dict[str, Any]]:
    return [*rows[:place], rows[place] | fields, *rows[place + 1 :]]


EVAL = "eval mt_bench --questions question.jsonl"
JUDGED = f"{EVAL} --annotations judged.jsonl"
ANSWERED = f"{EVAL} --references gpt4.jsonl --answers mine.jsonl --judge model"
CASES = [
    Case(
        "MT-Bench judgments of two runs in one file",
        JUDGED,
        "judged.jsonl, row 9: a second judgment of question 81, turn 1: files of results are appended to, so "
        "a second run is in it too; keep one run, or take the last of each with --duplicates last",
        files(judged=[*judgment_rows(), *judgment_rows()]),
    ),
    Case(
        "MT-Bench judgments of several models",
        JUDGED,
        "judged.jsonl: judgments of 2 models: name one with --name: mine, other",
        files(judged=[*judgment_rows(), *judgment_rows("other")]),
    ),
    Case(
        "MT-Bench judgments of other answers",
        f"{JUDGED} --answers mine.jsonl",
        "judged.jsonl: judgments of 'other', but the answers are those of 'mine': give both of one model",
        files(judged=judgment_rows("other")),
    ),
    Case(
        "MT-Bench judgments of pairs",
        JUDGED,
        "judged.jsonl, row 2: a judgment of two models; ratings are in the file of single-answer judgments "
        "(JUDGE_single.jsonl)",
        files(judged=with_(judgment_rows(), 1, model_1="a", model_2="b")),
    ),
    Case(
        "MT-Bench answers of two models in one file",
        ANSWERED,
        "mine.jsonl, row 3: answers of 'other' after those of 'mine': a file holds the answers of one model",
        files(mine=with_(answer_rows(), 2, model_id="other")),
    ),
    Case(
        "MT-Bench answers twice",
        ANSWERED,
        "mine.jsonl, row 5: prompt '81' is answered twice: keep one answer per question",
        files(mine=[*answer_rows(), answer_rows()[0]]),
    ),
    Case(
        "MT-Bench answers to other questions",
        ANSWERED,
        "mine.jsonl: none of its 1 answers is to one of the 4 questions of the benchmark: give the answers "
        "to these questions, or another file of questions",
        files(mine=with_(answer_rows()[:1], 0, question_id=7)),
    ),
    Case(
        "MT-Bench with a judge and no reference answers",
        f"{EVAL} --answers mine.jsonl --judge model",
        "2 questions of math, reasoning, coding are judged with reference answers: give them with "
        "--references FILE (MT-Bench's reference_answer/gpt-4.jsonl)",
        files(),
    ),
    Case(
        "MT-Bench without a judge",
        f"{EVAL} --answers mine.jsonl",
        "no verdicts: give --judge, stored verdicts with --annotations, or --until answers",
        files(),
    ),
]
