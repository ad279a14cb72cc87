"""Comparisons of evaluations that cannot be made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.bad_input.case import Case


def evaluations(*models: str, **changes: Any) -> None:
    """Write an evaluation per model; `changes` are those of the last."""
    from support.evaluations import measured, write_evaluation

    for model in models:
        changed = changes if model == models[-1] else {}
        write_evaluation(Path(model), [measured("win_rate", [1, 0, 0.5])], **{"model": model} | changed)


CASES = [
    Case(
        "comparison of one evaluation",
        "eval compare sft",
        "a comparison needs two settings or more, got 1: name another run",
        prepare=lambda: evaluations("sft"),
        code=2,
    ),
    Case(
        "comparison with what is no evaluation",
        "eval compare sft data",
        "data: no finished evaluation: results.json and scores.parquet are what `pairkit eval` writes",
        prepare=lambda: evaluations("sft"),
    ),
    Case(
        "comparison of different benchmarks",
        "eval compare sft dpo",
        "the runs are of different benchmarks: alpaca_eval (sft) and gsm8k (dpo): compare runs of one "
        "benchmark",
        prepare=lambda: evaluations("sft", "dpo", benchmark="gsm8k"),
    ),
    Case(
        "comparison of verdicts by different judges",
        "eval compare sft dpo",
        'the runs differ in judge: {"model": "a-judge"} (sft) and {"model": "b-judge"} (dpo): a difference '
        "between them may come from that alone; compare them anyway with --allow-different judge",
        prepare=lambda: evaluations("sft", "dpo", judge=_judge("b-judge")),
    ),
    Case(
        "comparison with different references",
        "eval compare sft dpo",
        "the runs differ in reference: a-reference (sft) and gpt-4 (dpo): a difference between them may come "
        "from that alone; compare them anyway with --allow-different reference",
        prepare=lambda: evaluations("sft", "dpo", reference="gpt-4"),
    ),
    Case(
        "comparison written into an evaluation",
        "eval compare sft dpo --out sft",
        "sft: is an evaluation: give another directory with --out",
        prepare=lambda: evaluations("sft", "dpo"),
    ),
]


def _judge(model: str) -> dict[str, Any]:
    from support.evaluations import JUDGE

    return JUDGE | {"model": model}
