"""Print what measure.py found as a table: means over seeds, differences to the start paired by prompt.

    python benchmarks/flagship/table.py

A row per loss: IFEval's shares in percent, prompts and instructions, strict and loose, with the difference to
the model before training and its 95 % interval, a bootstrap over seeds and prompts; then what the model
gives up. Below, the differences between each loss and DPO, paired by seed and prompt.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pairkit.intervals import Floats

HERE = Path(__file__).parent
READINGS = ("strict", "loose")
REFERENCE = "dpo"
RESAMPLES = 10_000
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
    for arm, results in sorted(arms.items()):
        if arm != REFERENCE and REFERENCE in arms:
            print(f"\n{arm} - {REFERENCE}, points:", *differences(results, arms[REFERENCE]), sep="\n  ")


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
    "sets per second",
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
    # Of the fastest seed, because other runs share the machine.
    speed = "" if results is start else f"{max(result['sets_per_second'] for result in results):.2f}"
    return "| " + " | ".join([name, str(len(results)), *shares, cut, *others, speed]) + " |"


def differences(results: list[Result], reference: list[Result]) -> list[str]:
    """Return the differences to another loss's shares with intervals, a line each."""
    return [
        f"{name}, {reading}: {difference(level(results, reading), level(reference, reading))}"
        for name, level in (("prompts", by_prompt), ("instructions", by_instruction))
        for reading in READINGS
    ]


def mean(results: list[Result], *path: str) -> float:
    """Return the mean over seeds of a number of the results."""
    values = []
    for result in results:
        value: Any = result
        for key in path:
            value = value[key]
        values.append(value)
    return float(np.mean(values))


Indices = npt.NDArray[np.int64]
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
    return f"{share:.1f} ({difference(runs, start)})"


def difference(runs: Runs, others: Runs) -> str:
    """Return the difference of two shares in points, with its 95 % interval."""
    low, high = (100 * bound for bound in interval(runs, others))
    return f"{100 * (share_of(runs) - share_of(others)):+.1f} [{low:+.1f}, {high:+.1f}]"


def interval(runs: Runs, others: Runs) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a difference of means over seeds.

    Both the seeds and the prompts are resampled: all runs have the same prompts, and seed i of one loss goes
    with seed i of the other.
    """
    random = np.random.default_rng(0)
    count = len(runs[0][0])
    prompts = random.integers(0, count, size=(RESAMPLES, count))
    seeds = random.integers(0, len(runs), size=(RESAMPLES, len(runs)))
    own = random.integers(0, len(others), size=(RESAMPLES, len(others)))
    # The start has one run; a loss some of whose seeds are not done yet is not paired.
    same = seeds if len(others) == len(runs) else own
    gaps = resampled(runs, prompts, seeds) - resampled(others, prompts, same)
    low, high = np.quantile(gaps, (0.025, 0.975))
    return float(low), float(high)


def resampled(runs: Runs, prompts: Indices, seeds: Indices) -> Floats:
    """Return the mean ratio of the seeds, [resamples], on the prompts of each resample."""
    ratios = np.stack([above[prompts].sum(axis=1) / below[prompts].sum(axis=1) for above, below in runs], 1)
    means: Floats = np.take_along_axis(ratios, seeds, axis=1).mean(axis=1)
    return means


def share_of(runs: Runs) -> float:
    """Return the mean over seeds of a ratio of sums."""
    return float(np.mean([above.sum() / below.sum() for above, below in runs]))


if __name__ == "__main__":
    main()
