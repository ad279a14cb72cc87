"""The runs of designs, which of them are done, and how long the others take."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from pairkit.replication.bench import Bench
from pairkit.replication.design import Arm, Replication
from pairkit.replication.tasks.base import Size
from pairkit.replication.tuning import runs_of

OpenBench = Callable[[Replication, int], Bench]


class Work(NamedTuple):
    """What a replication takes, besides what it shares with those before it in the list.

    `minutes` are those of two quiet cores, of the runs that are not done.
    """

    runs: int
    done: int
    minutes: float


class _Run(NamedTuple):
    seed: int
    arm: Arm
    split: str
    open: bool = False  # its settings are not chosen yet


def work(rows: Sequence[Replication], seeds: Callable[[Replication], Sequence[int]], size: Size,
         bench: OpenBench) -> list[Work]:  # fmt: skip
    """Count the runs of each replication, and estimate their time."""
    run_names: set[tuple[object, ...]] = set()
    starts: set[tuple[str, int]] = set()
    return [_work(row, seeds(row), size, bench, run_names, starts) for row in rows]


def _work(
    row: Replication,
    seeds: Sequence[int],
    size: Size,
    bench: OpenBench,
    run_names: set[tuple[object, ...]],
    starts: set[tuple[str, int]],
) -> Work:
    of_start, of_step, of_model = row.task.seconds
    runs = finished_runs = 0
    seconds = 0.0
    for run in _runs(row, seeds, size):
        # An arm whose settings are open is told from others by what it chooses from.
        name = row.task.name, run.seed, run.arm.key, run.split, str(run.arm.grid)
        if name in run_names:
            continue
        run_names.add(name)
        runs += 1
        place = bench(row, run.seed)
        if not run.open and place.is_measured(run.arm, run.split):
            finished_runs += 1
            continue
        # One start serves all replications of a task at a seed.
        if (row.task.name, run.seed) not in starts and not (place.folder / "sft" / "model").is_dir():
            seconds += of_start
        starts.add((row.task.name, run.seed))
        seconds += run.arm.steps * of_step + (1 + len(run.arm.marks)) * of_model
    return Work(runs, finished_runs, seconds / 60)


def _runs(row: Replication, seeds: Sequence[int], size: Size) -> Iterator[_Run]:
    for arm in row.arms.values():
        for seed, candidate in runs_of(arm, size):
            yield _Run(seed, candidate.sized(size), "tuning")
        for seed in seeds:
            yield _Run(seed, arm.sized(size), "test", bool(arm.grid))
