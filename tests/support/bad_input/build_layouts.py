"""`pairkit build` on rows of comparisons whose outcome could mean two things."""

from __future__ import annotations

from typing import Any

from support.bad_input.case import FILES, Case, lines


def compared(**outcome: Any) -> dict[str, Any]:
    return {"prompt": "Question?", "response_a": "good", "response_b": "bad", **outcome}


ALPACA = {"instruction": "Question?", "input": "", "output_1": "good", "output_2": "bad"}
MEANING = "state what they mean, as in --map 'winners={1: first, 2: second, 0: tie}'"

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
        "own.jsonl: winner is true or false, which names no completion; state what they mean, as in "
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
    Case(
        "rankings that may be ranks or an order",
        f"{FILES} own.jsonl",
        "own.jsonl: ranking holds [1, 2, 0], which may be the rank of each completion or the places of the "
        "completions from the best one on; give --map ranks=ranking or --map order=ranking",
        {"own.jsonl": lines({"prompt": "Question?", "responses": ["a", "b", "c"], "ranking": [1, 2, 0]})},
    ),
    Case(
        "ratings of different scales",
        f"{FILES} own.jsonl",
        "own.jsonl: ratings of different scales have no mean: accuracy goes to 1, depth to 9; name the one "
        "that is the score, as in --map score=depth, or several of one scale, joined by +",
        {"own.jsonl": lines({"prompt": "Question?", "response": "good", "accuracy": 1, "depth": 9})},
    ),
    Case(
        "labels that may be those of steps",
        f"{FILES} own.jsonl",
        "own.jsonl: completions and labels may be the steps of one answer (TRL's stepwise supervision), "
        "which is not preference data; if they are alternatives with a label each, give --map "
        "prompt=prompt,completions=completions,labels=labels",
        {"own.jsonl": lines({"prompt": "Question?", "completions": ["a", "b"], "labels": [True, False]})},
    ),
    Case(
        "chosen and rejected that are texts in one row and names in another",
        f"{FILES} own.jsonl",
        "own.jsonl: chosen and rejected are texts in some rows, and in others name response_a, response_b; "
        "write the texts into all rows",
        {
            "own.jsonl": lines(
                compared(chosen="A", rejected="B"), compared(chosen="good text", rejected="bad text")
            )
        },
    ),
    Case(
        "two columns that may be the history",
        f"{FILES} own.jsonl",
        "own.jsonl: chat_history and previous_turns may each be what was said before the prompt; name one of "
        "them with --map history=chat_history",
        {
            "own.jsonl": lines(
                {**compared(winner="A"), "chat_history": [["a", "b"]], "previous_turns": [["c", "d"]]}
            )
        },
    ),
]
