"""Prompts and answers that `pairkit eval ifeval` cannot use."""

from __future__ import annotations

from typing import Any

from support.bad_input.case import Case
from support.ifeval import PROMPTS, lines, responses

EVAL = "eval ifeval --questions prompts.jsonl"


def prompts(number: int, **changes: Any) -> dict[str, bytes]:
    """The file of prompts with a row changed."""
    rows = [row | changes if place == number else row for place, row in enumerate(PROMPTS)]
    return {"prompts.jsonl": lines(rows)}


def answers(*rows: dict[str, str]) -> dict[str, bytes]:
    return {"prompts.jsonl": lines(PROMPTS), "answers.jsonl": lines(list(rows))}


CASES = [
    Case(
        "prompts of IFEval without arguments of their instructions",
        f"{EVAL} --model M",
        "prompts.jsonl, row 1, field 'kwargs': must be a list with the arguments of each of the 2 "
        "instructions",
        prompts(0, kwargs=None),
    ),
    Case(
        "prompts of IFEval with a key twice",
        f"{EVAL} --model M",
        "prompts.jsonl, row 2: repeats the key 7",
        prompts(1, key=7),
    ),
    Case(
        "answers to other prompts than IFEval's",
        f"{EVAL} --answers answers.jsonl --name M",
        "answers.jsonl: none of its 1 answers is to one of the 3 questions of the benchmark: give the "
        "answers to these questions, or another file of questions",
        answers({"prompt": "Why?", "response": "So."}),
    ),
    Case(
        "two answers to one prompt of IFEval",
        f"{EVAL} --answers answers.jsonl --name M",
        "answers.jsonl, row 2: prompt '7' is answered twice: keep one answer per question",
        answers(*responses("a"), *responses("b")),
    ),
    Case(
        "answers to IFEval without a name",
        f"{EVAL} --answers answers.jsonl",
        "answers.jsonl: its answers do not name their model: give --name",
        answers(*responses("a")),
    ),
]
