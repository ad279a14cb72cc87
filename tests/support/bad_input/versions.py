"""As many questions as a benchmark has, or more, which are others: a file of another version."""

from __future__ import annotations

import json
from typing import Any

from support.bad_input.case import Case, lines


def others(count: int) -> list[dict[str, Any]]:
    """Questions in the layouts of all benchmarks."""
    return [
        {
            "instruction": f"Question {n}?", "output": "x", "generator": "base",
            "uid": f"q{n}", "prompt": f"Question {n}?", "category": "writing",
            "question_id": n, "turns": [f"First {n}?", f"Then {n}?"],
            "question": f"What is {n} + 2?", "answer": f"#### {n + 2}",
            "key": n, "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}],
        }
        for n in range(count)
    ]  # fmt: skip


def _case(benchmark: str, count: int, size: int, words: str, file: str = "q.jsonl") -> Case:
    content = lines(*others(count)) if file.endswith("l") else json.dumps(others(count)).encode()
    return Case(
        f"a file of another version of {benchmark}",
        words,
        f"{file}: the {count:,} questions are not the {size:,} of {benchmark} (another hash of their texts): "
        "give the file of this version, or measure on these with --other-version, which results say",
        {file: content},
    )


CASES = [
    _case(
        "AlpacaEval 2", 805, 805, "eval alpaca_eval --reference q.json --model m --until answers", "q.json"
    ),
    _case("Arena-Hard 0.1", 501, 500, "eval arena_hard --questions q.jsonl --model m --until answers"),
    _case("MT-Bench", 80, 80, "eval mt_bench --questions q.jsonl --model m --until answers"),
    _case("GSM8K's test set", 1320, 1319, "eval gsm8k --questions q.jsonl --model m"),
    _case("IFEval", 541, 540, "eval ifeval --questions q.jsonl --model m"),
]
