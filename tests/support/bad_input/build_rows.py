"""`pairkit build` on rows that a layout, a map or the lack of completions makes unusable."""

from __future__ import annotations

import pyarrow as pa
from support.bad_input.case import FILES, OWN, Case, lines, parquet

ASKED = {"own.jsonl": lines(*({"prompt": f"Question {number}?"} for number in range(20)))}
OTHER_NAMES = {
    "own.jsonl": lines(
        *(
            {"question": f"Question {n}?", "liked_reply": f"good {n}", "disliked_reply": "bad"}
            for n in range(20)
        )
    )
}
FOREIGN_NAMES = {"own.jsonl": lines(*({"prompt": "p", "gut": "c", "schlecht": "r"} for _ in range(20)))}
ANSWERED = {"own.jsonl": lines(*({"prompt": f"{n} + 1?", "answer": f"{n + 1}"} for n in range(20)))}
UNANSWERED = {
    "own.jsonl": lines(*({"messages": [{"role": "user", "content": f"Question {n}?"}]} for n in range(20)))
}
ONE_OF_TWO = {"own.jsonl": lines({"prompt": "p", "answer": "c", "bad_answer": "r"})}
TWICE = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], ["x", "x"])
GENERATE = "generate.model=MODEL generates them"

CASES = [
    Case(
        "prompts without completions",
        f"{FILES} own.jsonl",
        f"own.jsonl: read as prompts: prompts without completions; {GENERATE}; --layout prompts"
        " keeps prompts alone",
        ASKED,
    ),
    Case(
        "completions in columns of other names",
        f"{FILES} own.jsonl",
        "own.jsonl: read as prompts: prompts without completions; not read: liked_reply (100 %), "
        "disliked_reply (100 %); --map prompt=question,chosen=liked_reply,rejected=disliked_reply would read "
        f"completions; {GENERATE}; --layout prompts keeps prompts alone",
        OTHER_NAMES,
    ),
    Case(
        "completions in columns whose names tell nothing",
        f"{FILES} own.jsonl",
        "own.jsonl: read as prompts: prompts without completions; not read: gut (100 %), schlecht (100 %); "
        f"--map prompt=prompt,chosen=COLUMN,rejected=COLUMN reads completions; {GENERATE}; "
        "--layout prompts keeps prompts alone",
        FOREIGN_NAMES,
    ),
    Case(
        "conversations without a reply",
        f"{FILES} own.jsonl",
        f"own.jsonl: read as conversation: prompts without completions; {GENERATE}; "
        "--layout prompts --map prompt=messages keeps prompts alone",
        UNANSWERED,
    ),
    Case(
        "second completion in a column of another name",
        f"{FILES} own.jsonl",
        "own.jsonl: no usable candidate set in 1 rows (1 one_completion); the first: set …: at least two "
        "completions are needed (1 of 1 completions left); --map prompt=prompt,chosen=answer,"
        "rejected=bad_answer would read more completions; for --loss sft, or kto on "
        "labels, set mine.require_choice=false",
        ONE_OF_TWO,
    ),
    Case(
        "ranker over prompts without completions",
        f"{FILES} own.jsonl --layout prompts rank.ranker=pairrm rank.model=model",
        f"rank: pairrm needs completions, and own.jsonl has none: {GENERATE}; or leave out rank",
        ASKED,
    ),
    Case(
        "ranker over conversations without a reply",
        f"{FILES} own.jsonl rank.ranker=verifier",
        f"rank: verifier needs completions, and own.jsonl has none: {GENERATE}; or leave out rank",
        UNANSWERED,
    ),
    Case(
        "answer of a verifier that is read as a completion",
        f"{FILES} own.jsonl rank.ranker=verifier",
        "rank: the verifier compares completions with 'answer', but that column of own.jsonl is read as a "
        "completion: --map prompt=prompt,answer=answer keeps it as the answer; generate.model=MODEL "
        "generates completions",
        ANSWERED,
    ),
    Case(
        "unknown layout",
        f"{FILES} own.jsonl --layout pair",
        "unknown layout 'pair'; did you mean 'pairs'? Known: …",
        OWN,
    ),
    Case(
        "layout that the rows do not have",
        f"{FILES} own.jsonl --layout sets",
        "own.jsonl: not of layout 'sets', which needs completions; found columns prompt, chosen, rejected; "
        "name them with --map, as in --map completions=COLUMN",
        OWN,
    ),
    Case(
        "unknown field of `--map`",
        f"{FILES} own.jsonl --map prompt=prompt,choosen=chosen",
        "unknown field of `map` 'choosen'; did you mean 'chosen'? Known: …",
        OWN,
    ),
    Case(
        "field of `--map` without a column",
        f"{FILES} own.jsonl --map prompt",
        "cannot read --map 'prompt': write field=column,field=column",
        OWN,
        code=2,
    ),
    Case(
        "field of `--map` given twice",
        f"{FILES} own.jsonl --map chosen=chosen,chosen=prompt",
        "cannot read --map 'chosen=chosen,chosen=prompt': chosen occurs twice; join columns with +",
        OWN,
        code=2,
    ),
    Case(
        "quote of `--map` that is not closed",
        f'{FILES} own.jsonl --map system="Be,chosen=chosen',
        "cannot read --map 'system=\"Be,chosen=chosen': \" is missing at the end of a value",
        OWN,
        code=2,
    ),
    Case(
        "roles of `--map` that are no mapping",
        f"{FILES} own.jsonl --map roles=Human",
        "map roles: must give speakers a role, as in {Human: user}, got 'Human'",
        OWN,
    ),
    Case(
        "path of `--map` that cannot be read",
        f"{FILES} own.jsonl --map chosen=chosen[a],rejected=rejected",
        "cannot read the path 'chosen[a]': write column, column.key, column[0] or column[].key",
        OWN,
    ),
    Case(
        "constant of `--map` without quotes",
        f"{FILES} own.jsonl --map system=Brief",
        "own.jsonl: map system=Brief: there is no 'Brief'; found columns prompt, chosen, rejected; write a "
        "text that is not a column in quotes: --map 'system=\"Brief\"'",
        OWN,
    ),
    Case(
        "Parquet of two fields of one name in an object",
        f"{FILES} own.parquet",
        "own.parquet: the column 'note' has two fields named 'x' in one object; rename one of them",
        {"own.parquet": parquet(prompt=["p"], chosen=["c"], rejected=["r"], note=TWICE)},
    ),
    Case(
        "JSON of columns with different numbers of values",
        f"{FILES} own.json",
        "own.json: columns with different numbers of values: prompt (2), chosen (2), rejected (1); give each "
        "one per row",
        {"own.json": lines({"prompt": ["p", "q"], "chosen": ["a", "b"], "rejected": ["c"]})},
    ),
    Case(
        "CSV with text after the closing quote of a cell",
        f"{FILES} own.csv",
        "own.csv: no usable candidate set in 1 rows (1 invalid_csv); the first: own.csv, row 1: has text "
        "after the closing quote of a cell; write quotes within a cell twice",
        {"own.csv": b'prompt,chosen,rejected\n"p"x,c,r\n'},
    ),
]
