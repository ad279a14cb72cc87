"""The first step of a benchmark: a model's answers, generated or read from a file.

A question has one turn or several. Each further turn continues the conversation with the model's own answers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from pairkit.engines.base import Completion, Engine, Problem, Request, Sampling, sample_seed
from pairkit.errors import InputError
from pairkit.evaluation.rows import DataFile, Row, read_rows, text_field, texts_of
from pairkit.evaluation.session import Session
from pairkit.files import write_text
from pairkit.rankers.thoughts import Thoughts, answer_of

# What an evaluation writes with `write_answers`, and its page reads: the answers of the model or models, and
# those of the reference where there is one.
ANSWERS = "answers.jsonl"
REFERENCE_ANSWERS = "reference_answers.jsonl"
# The prompts alone, for a page without answers; not prompts.jsonl, which may be the user's own file.
PROMPTS = "judged_prompts.jsonl"


class Question(NamedTuple):
    """A question of a benchmark.

    Attributes:
        turns: the user's texts; the model answers each.
        row: the row of the benchmark's file.
        before: (role, text) of the messages in front of the first turn, which no model is asked about.
    """

    prompt_id: str
    turns: tuple[str, ...]
    category: str | None = None
    row: Row = MappingProxyType({})
    before: tuple[tuple[str, str], ...] = ()

    @property
    def messages(self) -> list[dict[str, str]]:
        """The messages up to the first turn of the user, which is the last of them."""
        turns = [*self.before, ("user", self.turns[0])]
        return [{"role": role, "content": content} for role, content in turns]


class Decoding(NamedTuple):
    """How a question is answered."""

    temperature: float
    top_p: float
    max_tokens: int


class Answer(NamedTuple):
    """The answers of a model to the turns of a question, as generated; `finish_reasons` may be unknown."""

    texts: tuple[str, ...]
    finish_reasons: tuple[str | None, ...] = ()

    def shown(self, thoughts: Thoughts = "strip") -> tuple[str, ...]:
        """Return the texts as they are judged: without the thoughts that they begin with, unless shown."""
        if thoughts == "show":
            return self.texts
        return tuple(answer_of(text) or "" for text in self.texts)

    @property
    def end_known(self) -> bool:
        """Whether it is known of every turn why it ended, and with it whether it was cut."""
        return len(self.finish_reasons) == len(self.texts) and None not in self.finish_reasons

    @property
    def truncated(self) -> bool:
        """Whether some turn was cut by the limit of tokens."""
        return "length" in self.finish_reasons


# By prompt_id; a `Problem` has why there is no answer.
Answers = Mapping[str, Answer | Problem]


def generate_answers(
    session: Session,
    engine: Engine,
    questions: Sequence[Question],
    decoding: Callable[[Question], Decoding],
    *,
    seed: int,
    system: str | None = None,
) -> Answers:
    """Ask `engine` each turn of each question, with `system` in front if it is given.

    All first turns are asked, then all second ones. What a question is answered depends on it, its decoding
    and the seed alone.
    """
    first = [{"role": "system", "content": system}] if system else []
    talks: dict[str, list[dict[str, str]]] = {
        question.prompt_id: [*first, *question.messages[:-1]] for question in questions
    }
    answers: dict[str, Answer | Problem] = {question.prompt_id: Answer(()) for question in questions}
    for turn in range(max((len(question.turns) for question in questions), default=0)):
        remaining = [
            question
            for question in questions
            if turn < len(question.turns) and isinstance(answers[question.prompt_id], Answer)
        ]
        requests = []
        for question in remaining:
            talks[question.prompt_id].append({"role": "user", "content": question.turns[turn]})
            sampling = Sampling(
                seed=sample_seed(seed, question.prompt_id, turn), **decoding(question)._asdict()
            )
            # A copy, because the dialogue continues after the request.
            requests.append(Request(list(talks[question.prompt_id]), (sampling,)))
        for question, result in zip(
            remaining, session.ask(engine, requests, f"Asking {engine.name}"), strict=True
        ):
            answers[question.prompt_id] = _with(answers[question.prompt_id], result)
            if not isinstance(result, Problem):
                # Without a thought that was kept apart, which is no part of the dialogue.
                talks[question.prompt_id].append({"role": "assistant", "content": result[0].text})
    return answers


def _with(before: Answer | Problem, result: tuple[Completion, ...] | Problem) -> Answer | Problem:
    if isinstance(result, Problem) or isinstance(before, Problem):
        return result if isinstance(result, Problem) else before
    (completion,) = result
    text = completion_text(completion)
    return Answer((*before.texts, text), (*before.finish_reasons, completion.finish_reason))


def completion_text(completion: Completion) -> str:
    """Return the text of a completion, with a thought that was kept apart in front of it.

    As models write it themselves, so that `thoughts` decides about both alike.
    """
    if not completion.reasoning_content:
        return completion.text
    return f"<think>\n{completion.reasoning_content}\n</think>\n\n{completion.text}"


def write_prompts(path: Path, questions: Sequence[Question]) -> None:
    """Write the prompts as a JSON line per question."""
    rows = [
        {"prompt_id": question.prompt_id, "prompt": question.turns, **_before(question)}
        for question in questions
    ]
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def write_answers(
    path: Path, model: str | Mapping[str, str], questions: Sequence[Question], answers: Answers
) -> None:
    """Write the answers in pairkit's own format: a JSON line per question, with what `read_own` needs.

    `model` is the name of the model, or that of each prompt_id.
    """
    lines: list[dict[str, Any]] = []
    for question in questions:
        answer = answers[question.prompt_id]
        line: dict[str, Any] = {
            "prompt_id": question.prompt_id,
            "category": question.category,
            "prompt": question.turns,
            **_before(question),
            "model": model if isinstance(model, str) else model[question.prompt_id],
        }
        if isinstance(answer, Problem):
            lines.append(line | {"problem": answer.reason, "detail": answer.detail})
        else:
            lines.append(line | {"answers": answer.texts, "finish_reasons": answer.finish_reasons})
    write_text(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def _before(question: Question) -> dict[str, Any]:
    # Only of dialogues, so that the files of benchmarks have no empty field.
    return {"before": question.messages[:-1]} if question.before else {}


def is_own(rows: Sequence[tuple[int, Row]]) -> bool:
    """Return whether rows are those that `write_answers` writes."""
    return {"prompt_id", "prompt", "model"} <= rows[0][1].keys()


def read_own(path: Path, questions: Sequence[Question]) -> tuple[str, Answers, DataFile]:
    """Read answers that `write_answers` wrote: the model's name, the answers, the file.

    Raises `InputError` for rows of another layout, answers to other questions, two answers to one, or answers
    of two models.
    """
    rows, file = read_rows(path)
    if not is_own(rows):
        raise InputError.at(
            "no stored answer of pairkit, which has prompt_id, prompt (a list of texts, one per turn of the "
            "user), model, and answers (a list of texts, one per turn)",
            file=path,
            row=rows[0][0],
        )
    by_id = {question.prompt_id: question for question in questions}
    by_prompt: dict[str, Answer | Problem] = {}
    models: dict[str, int] = {}
    for number, row in rows:
        prompt_id = text_field(row, "prompt_id", path, number)
        models.setdefault(text_field(row, "model", path, number), number)
        turns = texts_of(row.get("prompt"), path, number, "prompt")
        if prompt_id in by_id and turns != by_id[prompt_id].turns:
            raise InputError.at(
                f"prompt {prompt_id!r} has another text than the benchmark's: these answers are to other "
                "questions",
                file=path,
                row=number,
            )
        add_answer(by_prompt, prompt_id, own_answer(row, len(turns), path, number), path, number)
    answers = matched(by_prompt, questions, path)
    return one_name(models, path), answers, leaving_out(file, by_prompt, questions)


def own_answer(row: Row, turns: int, path: Path, number: int) -> Answer | Problem:
    """Return the answer in a row that `write_answers` wrote, to a prompt of so many turns.

    Raises `InputError` for what is no list of as many texts.
    """
    if row.get("problem"):
        return Problem(str(row["problem"]), str(row.get("detail") or ""))
    texts = texts_of(row.get("answers"), path, number, "answers")
    if len(texts) != turns:
        raise InputError.at(
            f"{len(texts)} answers to a prompt of {turns} turns: give one per turn", file=path, row=number
        )
    reasons = row.get("finish_reasons") or []
    if not isinstance(reasons, list) or not all(isinstance(each, str | None) for each in reasons):
        raise InputError.at("field 'finish_reasons' is not a list of texts", file=path, row=number)
    return Answer(texts, tuple(reasons))


def unanswered(answers: Answers) -> dict[str, str]:
    """Return why prompts have no answer, and so no score, by prompt_id."""
    return {key: answer.reason for key, answer in answers.items() if isinstance(answer, Problem)}


def only_text(answer: Answer | Problem, thoughts: Thoughts) -> str | None:
    """Return the text that is judged, or None for no answer. Raises `InputError` for several turns."""
    if isinstance(answer, Problem):
        return None
    if len(answer.texts) != 1:
        raise InputError(f"an answer of {len(answer.texts)} turns; the benchmark's questions have one")
    return answer.shown(thoughts)[0]


def add_answer(
    answers: dict[str, Answer | Problem], prompt_id: str, answer: Answer | Problem, path: Path, number: int
) -> None:
    """Add an answer to `answers`. Raises `InputError` for a second answer to the same question."""
    if prompt_id in answers:
        raise InputError.at(
            f"prompt {prompt_id!r} is answered twice: keep one answer per question", file=path, row=number
        )
    answers[prompt_id] = answer


def one_name(names: Mapping[str, int], path: Path, things: str = "answers", owner: str = "model") -> str:
    """Return the one name in `names` (name -> its first row). Raises `InputError` for several.

    Args:
        things: what the file holds.
        owner: whose things they are.
    """
    if len(names) > 1:
        (first, _), (second, row) = list(names.items())[:2]
        raise InputError.at(
            f"{things} of {second!r} after those of {first!r}: a file holds the {things} of one {owner}",
            file=path,
            row=row,
        )
    return next(iter(names), "")


def leaving_out(
    file: DataFile, answers: Mapping[str, Answer | Problem], questions: Sequence[Question]
) -> DataFile:
    """Return the note on a file of answers, some of which may be to none of the questions."""
    prompt_ids = {question.prompt_id for question in questions}
    return file.leaving_out([prompt_id for prompt_id in answers if prompt_id not in prompt_ids])


def matched(answers: Mapping[str, Answer | Problem], questions: Sequence[Question], path: Path) -> Answers:
    """Return an answer or a `Problem` for every question; further answers are left out.

    Raises `InputError` if no question of the benchmark is answered.
    """
    if not any(question.prompt_id in answers for question in questions):
        raise InputError(
            f"{path}: none of its {len(answers):,} answers is to one of the {len(questions):,} questions of "
            "the benchmark: give the answers to these questions, or another file of questions"
        )
    absent = Problem("no_answer", f"{path.name} has no answer to this question")
    return {question.prompt_id: answers.get(question.prompt_id, absent) for question in questions}


def questions_sha256(questions: Sequence[Question]) -> str:
    """Return the sha256 of the questions' ids and turns, in hex: the version of a benchmark."""
    content = sorted(
        (question.prompt_id, list(question.turns), *([question.before] if question.before else []))
        for question in questions
    )
    return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()
