"""Matrices of win rates that cannot be computed."""

from __future__ import annotations

from support.bad_input.case import Case, lines


def answers(model: str, *prompts: str) -> bytes:
    return lines(*({"instruction": prompt, "output": "x", "generator": model} for prompt in prompts))


FILES = {
    "prompts.jsonl": lines({"prompt": "One?"}, {"prompt": "Two?"}),
    "a.jsonl": answers("a", "One?", "Two?"),
    "b.jsonl": answers("b", "One?", "Two?"),
}
EVAL = "eval matrix --prompts prompts.jsonl"
TWO = f"{EVAL} --answers a.jsonl --answers b.jsonl"
GAME = {"prompt_id": "p", "model": "a", "reference": "b", "game": 0, "points": 1.0}
CASES = [
    Case(
        "matrix of one model",
        f"{EVAL} --answers a.jsonl --judge model",
        "a matrix compares two models or more, got 1: give --models NAME=MODEL or --answers FILE several "
        "times",
        FILES,
    ),
    Case(
        "matrix of two models with one name",
        f"{EVAL} --answers a.jsonl --answers a.jsonl --judge model",
        "two models are named 'a': give each its own, as --models NAME=MODEL or --answers NAME=FILE",
        FILES,
    ),
    Case(
        "matrix without a judge",
        TWO,
        "no verdicts: give --judge, stored verdicts with --annotations, or --until answers",
        FILES,
    ),
    Case(
        "matrix with a prompt twice",
        f"{TWO} --judge model",
        "prompts.jsonl, row 3: the same prompt as in row 1: a prompt counts once, so keep one of them",
        FILES | {"prompts.jsonl": lines({"prompt": "One?"}, {"prompt": "Two?"}, {"prompt": "One?"})},
    ),
    Case(
        "matrix with answers to other prompts",
        f"{TWO} --judge model",
        "b.jsonl: none of its 1 answers is to one of the 2 prompts: give the answers to these, or "
        "another file of prompts",
        FILES | {"b.jsonl": answers("b", "Three?")},
    ),
    Case(
        "matrix with answers of two models in one file",
        f"{TWO} --judge model",
        "b.jsonl, row 2: answers of 'c' after those of 'b': a file holds the answers of one model",
        FILES | {"b.jsonl": answers("b", "One?") + answers("c", "Two?")},
    ),
    Case(
        "matrix with a prompt answered twice",
        f"{TWO} --judge model",
        "b.jsonl, row 2: prompt '…' is answered twice: keep one answer per question",
        FILES | {"b.jsonl": answers("b", "One?", "One?")},
    ),
    Case(
        "matrix with a judge prompt that does not compare",
        f"{TWO} --judge model --prompt nectar",
        "the judge prompt 'nectar' is listwise, but the protocol round_robin needs a pairwise prompt",
        FILES,
    ),
    Case(
        "matrix with verdicts twice",
        f"{EVAL} --annotations verdicts.jsonl",
        "verdicts.jsonl, row 2: a second verdict on prompt 'p', 'a' against 'b', in the same order: keep one",
        FILES | {"prompts.jsonl": lines({"prompt": "One?", "id": "p"}), "verdicts.jsonl": lines(GAME, GAME)},
    ),
    Case(
        "matrix with verdicts on other models",
        f"{TWO} --annotations verdicts.jsonl",
        "verdicts.jsonl: no verdict on 'b'; it has those on a, c",
        FILES
        | {
            "prompts.jsonl": lines({"prompt": "One?", "id": "p"}),
            "verdicts.jsonl": lines(GAME | {"reference": "c"}),
        },
    ),
]
