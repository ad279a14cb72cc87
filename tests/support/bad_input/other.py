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
        "own.txt: the judge prompt has no {answer_b}; a pairwise prompt's user part wants {question}, "
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
        "the judge prompt 'nectar' is listwise; the protocol iterative wants a pairwise one",
        {"own.jsonl": LABELLED},
    ),
    Case(
        "labels of unknown values",
        JUDGE,
        "own.jsonl: no labelled pair in 20 rows: own.jsonl, row 1: field 'label' is 'good'; labels are 1, 2 "
        "and 0 (neither)",
        {"own.jsonl": LABELLED.replace(b": 1}", b': "good"}') * 20},
    ),
]
