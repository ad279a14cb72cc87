"""Every other command, and the command line itself."""

from __future__ import annotations

from support.bad_input.case import JUDGE, JUDGE_PROMPT, LABELED, Case, lines


def dialogue(question: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": "good"}]


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
        {"own.jsonl": LABELED, "own.txt": JUDGE_PROMPT % b"{question} {answer_a}"},
    ),
    Case(
        "judge prompt with a misspelled placeholder",
        f"{JUDGE} --prompt own.txt",
        "own.txt: unknown placeholder '{qestion}'; did you mean '{question}'? Known: …",
        {"own.jsonl": LABELED, "own.txt": JUDGE_PROMPT % b"{qestion} {question} {answer_a} {answer_b}"},
    ),
    Case(
        "judge prompt of another protocol",
        f"{JUDGE} --prompt nectar",
        "the judge prompt 'nectar' is listwise, but the protocol iterative needs a pairwise prompt",
        {"own.jsonl": LABELED},
    ),
    Case(
        "labels of unknown values",
        JUDGE,
        "own.jsonl: none of its 20 rows is a labeled pair: own.jsonl, row 1: field 'label' is 'good'; labels "
        "are 1, 2 and 0 (neither); A, B and tie; or model_a, model_b, tie and tie (bothbad)",
        {"own.jsonl": LABELED.replace(b": 1}", b': "good"}') * 20},
    ),
    Case(
        "judge prompt of five steps that does not name them",
        f"{JUDGE} --prompt own.txt",
        "own.txt: the prompt must tell the judge to write its verdict as <verdict>A>>B</verdict>",
        {
            "own.jsonl": LABELED,
            "own.txt": b"steps: 5\n" + JUDGE_PROMPT % b"{question} {answer_a} {answer_b}",
        },
    ),
    Case(
        "judge prompt with a setting of another kind",
        f"{JUDGE} --prompt own.txt",
        "own.txt: scale does not apply to pairwise prompts: remove it",
        {
            "own.jsonl": LABELED,
            "own.txt": b"scale: [1, 10]\n" + JUDGE_PROMPT % b"{question} {answer_a} {answer_b}",
        },
    ),
    Case(
        "judge aspects of different scales",
        f"{JUDGE} --protocol pointwise aspects=[honesty,own.txt]",
        "the aspects honesty, own have ratings from 1 to 5 and 1 to 10, which have no common mean: give "
        "their prompts the same scale",
        {
            "own.jsonl": LABELED,
            "own.txt": b"version: 1\nkind: pointwise\nscale: [1, 10]\n--- user ---\n"
            b"{question} {answer} <rating>",
        },
    ),
    Case(
        "labeled conversations with other questions",
        JUDGE,
        "own.jsonl: none of its 1 rows is a labeled pair: own.jsonl, row 1: the two conversations do not "
        "begin with the same question",
        {"own.jsonl": lines({name: dialogue(name) for name in ("chosen", "rejected")})},
    ),
    Case(
        "labeled conversations as text that cannot be read",
        JUDGE,
        "own.jsonl: none of its 1 rows is a labeled pair: own.jsonl, row 1: field 'chosen' looks like a list "
        "of messages but is neither JSON nor a Python literal",
        {"own.jsonl": lines({name: f"{dialogue(name)}"[:-4] for name in ("chosen", "rejected")})},
    ),
    Case(
        "`--map` of labels and of a chosen column",
        f"{JUDGE} --map prompt=prompt,chosen=first,rejected=second,label=label",
        "--map has chosen or rejected next to first, second or label: map one or the other",
        {"own.jsonl": LABELED},
    ),
]
