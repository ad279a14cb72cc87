"""Problems and answers that `pairkit eval gsm8k` cannot use."""

from __future__ import annotations

from typing import Any

from support.bad_input.case import Case, lines

PROBLEMS = [{"question": f"What is {n} + 2?", "answer": f"#### {n + 2}"} for n in range(4)]
EVAL = "eval gsm8k --questions problems.jsonl"
ANSWERED = f"{EVAL} --answers answers.jsonl"


def answer(number: int, **changes: Any) -> dict[str, Any]:
    """A stored answer to a problem, as pairkit writes it with `instruction=`."""
    question = PROBLEMS[number % 4]["question"]
    return {
        "prompt_id": str(number), "category": None, "prompt": [question], "model": "mine",
        "answers": ["So the answer is: 2"], "finish_reasons": ["stop"], **changes,
    }  # fmt: skip


def files(*answers: dict[str, Any], problems: list[dict[str, Any]] = PROBLEMS) -> dict[str, bytes]:
    return {"problems.jsonl": lines(*problems), "answers.jsonl": lines(*answers)}


CASES = [
    Case(
        "answers to other problems than GSM8K's",
        f"{ANSWERED} instruction=",
        "answers.jsonl: none of its 2 answers is to one of the 4 questions of the benchmark: give the "
        "answers to these questions, or another file of questions",
        files(answer(7), answer(8)),
    ),
    Case(
        "answers to problems with another text",
        f"{ANSWERED} instruction=",
        "answers.jsonl, row 2: prompt '1' has another text than the benchmark's: these answers are to other "
        "questions",
        files(answer(0), answer(1, prompt=["What is 1 + 3?"])),
    ),
    Case(
        "two answers to one problem",
        f"{ANSWERED} instruction=",
        "answers.jsonl, row 3: prompt '0' is answered twice: keep one answer per question",
        files(answer(0), answer(1), answer(0)),
    ),
    Case(
        "answers of two models to GSM8K",
        f"{ANSWERED} instruction=",
        "answers.jsonl, row 2: answers of 'other' after those of 'mine': a file holds the answers of one "
        "model",
        files(answer(0), answer(1, model="other")),
    ),
    Case(
        "answers to GSM8K in another format",
        ANSWERED,
        "answers.jsonl, row 1: no stored answer of pairkit, which has prompt_id, prompt (a list of texts, "
        "one per turn of the user), model, and answers (a list of texts, one per turn)",
        files({"question": "What is 0 + 2?", "output": "2"}),
    ),
    Case(
        "a problem twice",
        ANSWERED,
        "problems.jsonl, row 5: the same question as row 1: keep one, or it counts twice",
        files(answer(0), problems=[*PROBLEMS, PROBLEMS[0]]),
    ),
    Case(
        "a problem without a number",
        ANSWERED,
        "problems.jsonl, row 5: field 'answer' has no number",
        files(answer(0), problems=[*PROBLEMS, {"question": "Why?", "answer": "Because."}]),
    ),
    Case(
        "problems without answers",
        EVAL,
        "no answers: give --model, or stored answers with --answers FILE",
        files(answer(0)),
    ),
]
