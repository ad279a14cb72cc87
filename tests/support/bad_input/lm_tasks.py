"""Flags and files that `pairkit eval tasks` cannot use."""

from __future__ import annotations

from support.bad_input.case import Case
from support.ifeval import lines
from support.lm_tasks import ROWS

EVAL = "eval tasks --model M --tasks piqa"
FILES = {"piqa.jsonl": lines(ROWS["piqa"]), "webqs.jsonl": lines(ROWS["webqs"])}

CASES = [
    Case(
        "tasks of lm-eval with an engine that has no log-likelihoods",
        f"{EVAL} --data piqa=piqa.jsonl --engine vllm",
        "'vllm' computes no tasks: lm-eval asks the model for log-likelihoods through "
        "transformers alone; leave engine out",
        FILES,
    ),
    Case(
        "rows of another task of lm-eval",
        f"{EVAL} --data piqa=webqs.jsonl",
        "webqs.jsonl, row 1, field 'goal': is missing: piqa reads it",
        FILES,
    ),
    Case(
        "rows of a task of lm-eval that is not measured",
        f"{EVAL} --data webqs=webqs.jsonl",
        "--data webqs=...: webqs is not among --tasks piqa",
        FILES,
    ),
    Case(
        "rows of a task of lm-eval without its name",
        f"{EVAL} --data piqa.jsonl",
        "cannot read --data 'piqa.jsonl': write TASK=FILE",
        FILES,
        code=2,
    ),
    Case(
        "examples in the prompt of a task of lm-eval whose rows are in a file",
        f"{EVAL} --data piqa=piqa.jsonl --fewshot 2",
        "fewshot=2 takes examples from a training set, which --data does not have: set fewshot=0, or write a "
        "task file for lm-eval and name its directory in include",
        FILES,
    ),
]
