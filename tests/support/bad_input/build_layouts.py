"""`pairkit build` on rows of comparisons whose outcome could mean two things."""

from __future__ import annotations

from typing import Any

from support.bad_input.case import FILES, Case, lines


def compared(**outcome: Any) -> dict[str, Any]:
    return {"prompt": "Question?", "response_a": "good", "response_b": "bad", **outcome}


ALPACA = {"instruction": "Question?", "input": "", "output_1": "good", "output_2": "bad"}
MEANING = "say what they mean, as in --map 'winners={1: first, 2: second, 0: tie}'"

CASES = [
    Case(
        "numbers of winners that may count from 0 or from 1",
        f"{FILES} own.jsonl",
        f"own.jsonl: winner holds 1, which may count from 0 or from 1; {MEANING}",
        {"own.jsonl": lines(compared(winner=1), compared(winner=1))},
    ),
    Case(
        "numbers of winners below 0",
        f"{FILES} own.jsonl",
        f"own.jsonl: winner holds -1, 2, which may count from 0 or from 1; {MEANING}; "
        "where a number below 0 means that the first is better, --map strength=winner",
        {"own.jsonl": lines(compared(winner=-1), compared(winner=2))},
    ),
    Case(
        "winners that are true or false",
        f"{FILES} own.jsonl",
        "own.jsonl: winner is true or false, which names no completion; say what they mean, as in "
        "--map 'winners={true: first, false: second}'",
        {"own.jsonl": lines(compared(winner=True))},
    ),
    Case(
        "winners that are fractions",
        f"{FILES} own.jsonl",
        "own.jsonl: winner holds 1.5, which names no completion; where the numbers go from 1, the first is "
        "better, to 2, give --map preference=winner; where a number below 0 means that the first is better, "
        "--map strength=winner",
        {"own.jsonl": lines(compared(winner=1.5))},
    ),
    Case(
        "preferences that do not go from 1 to 2",
        f"{FILES} own.jsonl",
        "own.jsonl: preference goes from 0 to 1, not from 1, the first is better, to 2; where the numbers "
        "are positions, give --map winner=preference; where a number below 0 means that the first is better, "
        "--map strength=preference",
        {"own.jsonl": lines({**ALPACA, "preference": 0}, {**ALPACA, "preference": 1})},
    ),
    Case(
        "labels that are a rating, from whatever row on",
        f"{FILES} own.jsonl",
        "own.jsonl: label holds 0, 1, 5, a rating and no label of 1 and 0, or of 1 and -1; give --map "
        "score=label,group=COLUMN (the prompt's) if more is better, or correct the rows",
        {
            "own.jsonl": lines(
                *({"prompt": f"Question {n}?", "completion": "a", "label": n % 2} for n in range(1200)),
                {"prompt": "Question?", "completion": "a", "label": 5},
            )
        },
    ),
    Case(
        "steps of one answer",
        f"{FILES} own.jsonl",
        "own.jsonl: completions with a list of true and false in labels are the steps of one answer (TRL's "
        "stepwise supervision), which is no preference data; if they are alternative answers of which one is "
        "right, give --map prompt=COLUMN,completions=completions,flags=labels",
        {"own.jsonl": lines({"prompt": "Q?", "completions": ["a", "b"], "labels": [True, False]})},
    ),
    Case(
        "two outputs in every row, ranked or not",
        f"{FILES} own.jsonl",
        "own.jsonl: output holds two texts in every row; give --map rank_by_order=true if the first is the "
        "better one, as LLaMA-Factory's pairs are, or --map rank_by_order=false if they are in no order",
        {"own.jsonl": lines({"instruction": "Question?", "input": "", "output": ["good", "bad"]})},
    ),
    Case(
        "`--map` of an order where nothing is compared",
        f"{FILES} own.jsonl --map rank_by_order=true",
        "map rank_by_order: rows of layout 'pairs' are not compared; leave it out",
        {"own.jsonl": lines({"prompt": "Question?", "chosen": "good", "rejected": "bad"})},
    ),
]
