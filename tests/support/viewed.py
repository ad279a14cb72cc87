"""A built dataset with something of everything that `pairkit view` shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from support.tiny import candidate_sets, completion, random_sets, write_data

from pairkit.files import sha256
from pairkit.rankers.human.annotation import completion_hash
from pairkit.schema import QUARANTINE, VERDICTS

# Markup, scripts, addresses, marks that turn text, control characters, and what frameworks fill in.
ATTACKS = [
    "<script>window.attacked = 1</script>",
    '"><img src=x onerror="window.attacked = 1">',
    "<svg/onload=window.attacked=1>",
    "</div></main></body><iframe src=javascript:window.top.attacked=1></iframe>",
    "javascript:window.attacked=1//",
    "<a href='http://evil.example/' ping='http://evil.example/'>x</a>",
    "<link rel=stylesheet href=http://evil.example/x.css><style>*{display:none}</style>",
    "<meta http-equiv=refresh content='0;url=http://evil.example/'><base href=//evil.example/>",
    "<form action=http://evil.example/><input name=token autofocus onfocus=window.attacked=1></form>",
    "{{constructor.constructor('window.attacked=1')()}} ${window.attacked=1}",
    "user\u202etxt.exe\u2066a\u2069\u200f\u061cb \u2067c",
    "a\x1b[31m\x07\x08\x0b\x0c\r\x7f\x85b",
    "a\u200bb\ufeffc\u2028d\u2029e\u00ad\U000e0041\x00",
    "Z\u0351\u0352a\u0300l\u0301g\u0302o " * 30,
    "__proto__",
    "constructor",
]
EVIL = "\n".join(ATTACKS)


def named(text: str, rank: int, number: int) -> dict[str, Any]:
    """Make a ranked completion that two rankers have scored, which disagree in every third set."""
    other = rank if number % 3 else -rank
    scores = [{"name": "clear", "value": float(5 - rank)}, {"name": "true", "value": float(5 - other)}]
    sampling = {"temperature": 0.7, "top_p": 0.9, "seed": 2**60 + 1, "max_tokens": 64}
    return completion(
        text, rank, score=5.0 - rank * (1 + number % 7), scores=scores, sampling=sampling,
        model=f"org/model-{rank}", finish_reason="stop" if rank < 3 else "length", origin="generated",
    )  # fmt: skip


def plain_sets(count: int) -> pa.Table:
    """Make sets of four completions, ranked and scored."""
    return candidate_sets(
        [
            (
                f"Question {number} about {'music' if number % 10 == 4 else 'the weather'} (q{number:03d})?",
                [
                    named(f"Answer {number} {'good ' * (5 - rank)}of rank {rank}", rank, number)
                    for rank in (1, 2, 3)
                ]
                + [completion("noise of it", origin="noise", model="noise:token_swap")],
            )
            for number in range(count)
        ]
    )  # fmt: skip


def evil_sets() -> pa.Table:
    """Make sets whose every text is hostile."""
    worst = {
        **completion(EVIL, 1, score=1.0, scores=[{"name": ATTACKS[0], "value": 1.0}]),
        "model": ATTACKS[1],
        "finish_reason": ATTACKS[2],
        "metadata": json.dumps({ATTACKS[1]: EVIL}),
        "reasoning_content": EVIL,
        "tool_calls": json.dumps([{"name": EVIL}]),
    }
    other = completion(EVIL[::-1], 2, score=0.0, model=ATTACKS[10])
    prompts = [*ATTACKS, EVIL, "x" * 50_000 + ATTACKS[0], "\x00\u202e" * 4000]
    return candidate_sets([(f"{number} {text}", [worst, other]) for number, text in enumerate(prompts)])


def write_viewed(folder: Path, train: pa.Table, test: pa.Table | None = None) -> Path:
    """Write a dataset of these sets with the answers of a judge about the first, and rows in quarantine."""
    write_data(folder, train, test)
    content = train.slice(0, 1).to_pylist()[0]
    texts = [completion_hash(each["text"], each.get("tool_calls")) for each in content["completions"]]
    about = {"set_id": content["set_id"], "protocol": "pairwise", "attempt": 0, "prompt_hash": "0" * 16}
    verdicts = [
        {
            **about,
            "shown": [0, 1],
            "texts": texts[:2],
            "verdict": "0",
            "answer": EVIL,
            "finish_reason": "stop",
        },
        {**about, "shown": [1, 0], "texts": texts[1::-1], "verdict": None, "answer": "I cannot say."},
    ]
    rows = [
        {"stage": "source", "reason": "empty_prompt", "detail": "own.jsonl, row 3: is empty", "row": "{}"},
        {"stage": "mine", "reason": "no_choice", "detail": EVIL, "row": json.dumps({"prompt": EVIL})},
    ]
    (folder / "verdicts").mkdir()
    pq.write_table(
        pa.Table.from_pylist(verdicts, VERDICTS), folder / "verdicts" / "all-00000-of-00001.parquet"
    )
    pq.write_table(pa.Table.from_pylist(rows, QUARANTINE), folder / "quarantine.parquet")
    manifest = json.loads((folder / "pairkit.json").read_text())
    for name in ("verdicts/all-00000-of-00001.parquet", "quarantine.parquet"):
        manifest["files"][name] = {"sha256": sha256(folder / name)}
    (folder / "pairkit.json").write_text(json.dumps(manifest))
    return folder


__all__ = ["ATTACKS", "EVIL", "evil_sets", "plain_sets", "random_sets", "write_viewed"]
