"""Every other command, and the command line itself."""

from __future__ import annotations

from support.bad_input.case import JUDGE, JUDGE_PROMPT, LABELLED, Case

CASES = [
    Case(
        "unknown command",
        "biuld",
        "No such command 'biuld'. Did you mean 'build'?; see: pairkit --help",
        code=2,
    ),
    Case("missing argument", "push", "Missing argument 'DIR'; see: pairkit push --help", code=2),
    # Judges
    Case(
        "judge prompt without its placeholders",
        f"{JUDGE} --prompt own.txt",
        "own.txt: {answer_b} is missing; the user part of a pairwise prompt must contain {question}, "
        "{answer_a}, {answer_b}",
        {"own.jsonl": LABELLED, "own.txt": JUDGE_PROMPT % b"{question} {answer_a}"},
    ),
    Case(
        "judge prompt with a misspelt placeholder",
        f"{JUDGE} --prompt own.txt",
        "own.txt: unknown placeholder '{qestion}'; did you mean '{question}'? Known: …",
        {"own.jsonl": LABELLED, "own.txt": JUDGE_PROMPT % b"{qestion} {question} {answer_a} {answer_b}"},
    ),
    Case(
        "judge prompt of another protocol",
        f"{JUDGE} --prompt nectar",
        "the judge prompt 'nectar' is listwise, but the protocol iterative needs a pairwise prompt",
        {"own.jsonl": LABELLED},
    ),
    Case(
        "labels of unknown values",
        JUDGE,
        "own.jsonl: none of its 20 rows is a labeled pair: own.jsonl, row 1: field 'label' is 'good'; labels "
        "are 1, 2 and 0 (neither)",
        {"own.jsonl": LABELLED.replace(b": 1}", b': "good"}') * 20},
    ),
]
