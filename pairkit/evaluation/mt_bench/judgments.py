"""Verdicts in the format of `model_judgment/JUDGE_single.jsonl`: read and written."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pairkit.errors import InputError
from pairkit.evaluation.answers import Question
from pairkit.evaluation.mt_bench.answers import public_id
from pairkit.evaluation.mt_bench.prompts import Prompts
from pairkit.evaluation.mt_bench.questions import REFERENCED, TURNS, question_id
from pairkit.evaluation.mt_bench.rating import in_range, read_rating
from pairkit.evaluation.mt_bench.recipe import Duplicates
from pairkit.evaluation.results import Verdict, check_public
from pairkit.evaluation.rows import DataFile, Row, number_field, read_rows, text_field
from pairkit.files import write_text

UNRATED = -1  # FastChat's score of a judgment without a rating
Turn = tuple[str, int]  # prompt_id and turn, from 1


class Judgment(NamedTuple):
    """A stored verdict: the judge's words, "" if they were not kept, and the rating in them."""

    words: str
    rating: float | None


class Judgments(NamedTuple):
    """The stored verdicts on a model.

    Attributes:
        by_turn: one per question and turn.
        others: how many have another rating in their text than in the file.
    """

    by_turn: Mapping[Turn, Judgment]
    model: str
    judge: str
    others: int
    file: DataFile


def read_judgments(
    path: Path, questions: Sequence[Question], model: str = "", duplicates: Duplicates = "refuse"
) -> Judgments:
    """Read the judgments on `questions` of the only model of a file, or of `model`.

    A rating is read from the judge's words where the file has them. FastChat appends to its files, so that a
    second run leaves two judgments per turn: see `duplicates`.

    Raises `InputError` for a file of another layout, judgments of several models none of which is `model`,
    or of several judges, none of these questions, or two of one turn.
    """
    rows, file = read_rows(path)
    check_public(rows[0][1], path, "the file in model_judgment/")
    models = sorted(
        {text_field(row, "model", path, number) for number, row in rows if _single(row, path, number)}
    )
    if len(models) > 1 and model not in models:
        raise InputError(
            f"{path}: judgments of {len(models)} models: name one with --name: {', '.join(models)}"
        )
    chosen_model = model if model in models else models[0]
    model_rows = [(number, row) for number, row in rows if row["model"] == chosen_model]
    judges = sorted({_judge(row, path, number) for number, row in model_rows})
    if len(judges) > 1:
        raise InputError(f"{path}: judgments by {' and '.join(judges)}: keep those of one judge")
    latest: dict[Turn, tuple[int, Row]] = {}
    for number, row in model_rows:
        key = (question_id(row, path, number), _turn(row, path, number))
        if key in latest:
            _check_second(key, duplicates, path, number)
            # Of equal times the later row, because files are appended to.
            if _time(row, path, number) < _time(latest[key][1], path, latest[key][0]):
                continue
        latest[key] = (number, row)
    prompt_ids = {question.prompt_id for question in questions}
    entries = {key: place for key, place in latest.items() if key[0] in prompt_ids}
    if not entries:
        raise InputError(f"{path}: none of its judgments is on one of the {len(questions):,} questions")
    read = {key: _judgment(row, path, number) for key, (number, row) in entries.items()}
    row_ids = [question_id(row, path, number) for number, row in model_rows]
    file = file.leaving_out([key for key in row_ids if key not in prompt_ids])
    others = sum(other for _, other in read.values())
    by_turn = {key: judgment for key, (judgment, _) in read.items()}
    return Judgments(by_turn, chosen_model, judges[0], others, file)


def write_judgments(
    path: Path, judge: str, questions: Sequence[Question], prompts: Prompts, verdicts: Sequence[Verdict]
) -> None:
    """Write verdicts in FastChat's format, -1 for one without a rating; without `tstamp`."""
    by_id = {question.prompt_id: question for question in questions}
    lines = []
    for verdict in verdicts:
        question = by_id[verdict.prompt_id]
        prompt = prompts.of(verdict.turn, referenced=question.category in REFERENCED)
        line = {
            "question_id": public_id(question),
            "model": verdict.model,
            "judge": [judge, prompt.name],
            "judgment": verdict.answer or "",
            "score": UNRATED if verdict.points is None else verdict.points,
            "turn": verdict.turn,
        }
        lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    write_text(path, "".join(lines))


def _single(row: Row, path: Path, number: int) -> bool:
    if row.get("model_1") is not None:
        raise InputError.at(
            "a judgment of two models; ratings are in the file of single-answer judgments "
            "(JUDGE_single.jsonl)",
            file=path,
            row=number,
        )
    return True


def _judge(row: Row, path: Path, number: int) -> str:
    judge = row.get("judge")
    if isinstance(judge, (list, tuple)) and judge and isinstance(judge[0], str):
        return judge[0]
    raise InputError.at("field 'judge' is not a list of a judge and its prompt", file=path, row=number)


def _turn(row: Row, path: Path, number: int) -> int:
    turn = number_field(row, "turn", path, number)
    if turn not in range(1, TURNS + 1):
        raise InputError.at(f"field 'turn' is {turn:g}, not 1 or {TURNS}", file=path, row=number)
    return int(turn)


def _check_second(key: Turn, duplicates: Duplicates, path: Path, number: int) -> None:
    if duplicates == "refuse":
        raise InputError.at(
            f"a second judgment of question {key[0]}, turn {key[1]}: files of results are appended to, so a "
            "second run is in it too; keep one run, or take the last of each with --duplicates last",
            file=path,
            row=number,
        )


def _time(row: Row, path: Path, number: int) -> float:
    if row.get("tstamp") is None:
        raise InputError.at(
            "field 'tstamp' is missing, so that the last of two judgments is unknown: keep one of them",
            file=path,
            row=number,
        )
    return number_field(row, "tstamp", path, number)


def _judgment(row: Row, path: Path, number: int) -> tuple[Judgment, bool]:
    """Return a judgment, and whether its text has another rating than its score."""
    score = number_field(row, "score", path, number)
    stored_score = None if score == UNRATED else in_range(score)
    words = row.get("judgment")
    if not isinstance(words, str) or not words:
        return Judgment("", stored_score), False
    rating = read_rating(words)
    same = (
        rating is None if stored_score is None else rating is not None and math.isclose(rating, stored_score)
    )
    return Judgment(words, rating), not same
