"""Files of Arena-Hard that do not belong together."""

from __future__ import annotations

from typing import Any

from support.arena import BASE, OWN, answers, judgments, questions
from support.bad_input.case import Case, lines

QUESTIONS = {"q.jsonl": lines(*questions())}
COMMAND = "eval arena_hard --questions q.jsonl"
STORED = f"{COMMAND} --annotations j.jsonl"


def _changed(rows: list[dict[str, Any]], place: int, **fields: Any) -> bytes:
    return lines(*(row | fields if number == place else row for number, row in enumerate(rows)))


CASES = [
    Case(
        "answers to other questions of Arena-Hard",
        f"{COMMAND} --answers a.jsonl --until answers",
        "a.jsonl: none of its 4 answers is to one of the 4 questions of the benchmark: give the answers to "
        "these questions, or another file of questions",
        QUESTIONS | {"a.jsonl": lines(*({**row, "uid": f"x{row['uid']}"} for row in answers("mine", OWN)))},
    ),
    Case(
        "answers of two models",
        f"{COMMAND} --answers a.jsonl --until answers",
        "a.jsonl, row 2: answers of 'other' after those of 'mine': a file holds the answers of one model",
        QUESTIONS | {"a.jsonl": _changed(answers("mine", OWN), 1, model="other")},
    ),
    Case(
        "a question answered twice",
        f"{COMMAND} --answers a.jsonl --until answers",
        "a.jsonl, row 5: prompt 'q0' is answered twice: keep one answer per question",
        QUESTIONS | {"a.jsonl": lines(*answers("mine", OWN), answers("mine", OWN)[0])},
    ),
    Case(
        "verdicts of two judges",
        STORED,
        "j.jsonl, row 2: verdicts of 'other' after those of 'gpt-4-1106-preview': a file holds the verdicts "
        "of one judge",
        QUESTIONS | {"j.jsonl": _changed(judgments(), 1, judge="other")},
    ),
    Case(
        "a game judged twice",
        STORED,
        "j.jsonl, row 5: a second verdict on game 1 of prompt 'q0': keep one",
        QUESTIONS | {"j.jsonl": lines(*judgments(), judgments()[0])},
    ),
    Case(
        "verdicts against another reference",
        f"{STORED} --reference r.jsonl",
        "r.jsonl: the verdicts are against another reference, 'gpt-4-0314', than 'other': give the answers "
        "of 'gpt-4-0314'",
        QUESTIONS
        | {
            "j.jsonl": lines(*({**row, "baseline": "gpt-4-0314"} for row in judgments())),
            "r.jsonl": lines(*answers("other", BASE)),
        },
    ),
    Case(
        "verdicts on another model than the answers",
        f"{STORED} --answers a.jsonl",
        "the answers are 'other''s and the verdicts are on 'mine': give those of one model, or --name if "
        "both are its names",
        QUESTIONS | {"j.jsonl": lines(*judgments()), "a.jsonl": lines(*answers("other", OWN))},
    ),
    Case(
        "another judge's verdicts on another model",
        f"{STORED} --agreement other.jsonl",
        "other.jsonl: verdicts on 'else', but the answers are those of 'mine': give --agreement the verdicts "
        "on the same answers",
        QUESTIONS | {"j.jsonl": lines(*judgments()), "other.jsonl": lines(*judgments(model="else"))},
    ),
    Case(
        "another judge's verdicts against another reference",
        f"{STORED} --agreement other.jsonl",
        "other.jsonl: its verdicts are against 'else', these are against 'gpt-4-0314': give --agreement "
        "verdicts against the same reference",
        QUESTIONS
        | {
            "j.jsonl": lines(*judgments()),
            "other.jsonl": lines(*(row | {"baseline": "else"} for row in judgments())),
        },
    ),
    Case(
        "questions of the other version of Arena-Hard",
        f"{STORED} --version 2.0",
        "q.jsonl, row 1: category 'arena-hard-v0.1'; Arena-Hard 2.0 has hard_prompt, creative_writing: give "
        "its question.jsonl, or --version 0.1",
        QUESTIONS | {"j.jsonl": lines(*judgments())},
    ),
    Case(
        "a judge without a reference to compare with",
        f"{COMMAND} --answers a.jsonl --judge model",
        "no reference to compare with: give its answers with --reference FILE",
        QUESTIONS | {"a.jsonl": lines(*answers("mine", OWN))},
    ),
    Case(
        "a tokenizer that is not there",
        f"{STORED} tokenizer=./nowhere",
        "the tokenizer './nowhere' cannot be loaded: no such file or directory",
        QUESTIONS | {"j.jsonl": lines(*judgments())},
    ),
]
