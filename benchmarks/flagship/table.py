"""Print what measure.py found as a table: means over seeds, differences to the start paired by prompt.

    python benchmarks/flagship/table.py

A row per loss: IFEval's shares in percent, prompts and instructions, strict and loose, with the difference to
the model before training and its 95 % interval, a bootstrap over prompts of the mean over seeds; then what
the model gives up.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from pairkit.intervals import Floats, bootstrap_ratio_difference

HERE = Path(__file__).parent
READINGS = ("strict", "loose")
Result = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    arguments = parser.parse_args()
    arms: dict[str, list[Result]] = defaultdict(list)
    for file in sorted(arguments.results.glob("*.json")):
        result = json.loads(file.read_text(encoding="utf-8"))
        arms[result["arm"]].append(result)
    start = arms.pop("start")
    print(HEAD)
    print(row("before training", start, start))
    for arm, results in sorted(arms.items()):
        print(row(arm, results, start))


COLUMNS = (
    "model",
    "seeds",
    "prompts, strict",
    "prompts, loose",
    "instructions, strict",
    "instructions, loose",
    "answers cut at the limit",
    "human replies, nats per token",
    "own entropy",
    "KL to the start per chosen completion",
    "processor, min",
)
HEAD = f"| {' | '.join(COLUMNS)} |\n|---|{'--:|' * (len(COLUMNS) - 1)}"


def row(name: str, results: list[Result], start: list[Result]) -> str:
    """Return an arm's line of the table."""
    shares = [
        cell(level(results, reading), level(start, reading), results is start)
        for level in (by_prompt, by_instruction)
        for reading in READINGS
    ]
    cut = f"{mean(results, 'ifeval', 'truncated', 'value'):.1f}"
    others = [
        f"{mean(results, *path):.{places}f}"
        if results is not start or path[0] == "replies_nll_per_token"
        else ""
        for path, places in (
            (("replies_nll_per_token",), 3),
            (("sample", "own_entropy"), 2),
            (("eval", "kl_chosen"), 2),
        )
    ]
    minutes = "" if results is start else f"{mean(results, 'processor_seconds') / 60:.0f}"
    return "| " + " | ".join([name, str(len(results)), *shares, cut, *others, minutes]) + " |"


def mean(results: list[Result], *path: str) -> float:
    """Return the mean over seeds of a number of the results."""
    values = []
    for result in results:
        value: Any = result
        for key in path:
            value = value[key]
        values.append(value)
    return float(np.mean(values))


Runs = list[tuple[Floats, Floats]]  # of each seed: followed and asked for, [prompts] each


def by_prompt(results: list[Result], reading: str) -> Runs:
    """Return whether all instructions of a prompt are followed, of each seed."""
    return [
        (np.array([float("0" not in digits) for digits in verdicts]), np.ones(len(verdicts)))
        for verdicts in (result["verdicts"][reading] for result in results)
    ]


def by_instruction(results: list[Result], reading: str) -> Runs:
    """Return how many instructions of a prompt are followed, and how many there are, of each seed."""
    return [
        (
            np.array([float(digits.count("1")) for digits in verdicts]),
            np.array([float(len(digits)) for digits in verdicts]),
        )
        for verdicts in (result["verdicts"][reading] for result in results)
    ]


def cell(runs: Runs, start: Runs, is_start: bool) -> str:
    """Return a share in percent, and its difference to the start with an interval."""
    share = 100 * share_of(runs)
    if is_start:
        return f"{share:.1f}"
    low, high = (100 * bound for bound in bootstrap_ratio_difference(runs, start))
    return f"{share:.1f} ({share - 100 * share_of(start):+.1f} [{low:+.1f}, {high:+.1f}])"


def share_of(runs: Runs) -> float:
    """Return the mean over seeds of a ratio of sums."""
    return float(np.mean([above.sum() / below.sum() for above, below in runs]))


if __name__ == "__main__":
    main()
