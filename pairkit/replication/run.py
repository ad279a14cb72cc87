"""Replications, from the start or continued: designs are compared, runs made, verdicts written."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pairkit.errors import RecipeError, quoted
from pairkit.files import OnExisting, stoppable, write_json
from pairkit.imports import only_named
from pairkit.ownership import none_empty, outside_others, owned
from pairkit.progress import log
from pairkit.replication.bench import Bench
from pairkit.replication.design import MOST_SEEDS, TUNING_SEEDS, Arm, Replication
from pairkit.replication.measured import START, Seed
from pairkit.replication.page import check_page, publishing, write_page
from pairkit.replication.plan import Work, work
from pairkit.replication.record import RESULTS, check_ours, claim, claim_design
from pairkit.replication.results import result
from pairkit.replication.tasks.base import FULL, Size
from pairkit.replication.tuning import Tuned, tuned

# Whose functions the tasks name as checks; they are pairkit's own.
_CHECKS = ("pairkit.sources", "pairkit.replication")


class _TimeIsUp(Exception):
    """No time is left to begin another run."""


class Outcome(NamedTuple):
    """The results of the replications that are finished, and the ids of the others."""

    results: list[dict[str, Any]]
    unfinished: list[str]


@dataclass(frozen=True)
class _Clock:
    """Asked before whatever takes long."""

    minutes: float | None
    began: float = field(default_factory=time.monotonic)

    def begin(self) -> None:
        if self.minutes is not None and time.monotonic() - self.began > 60 * self.minutes:
            raise _TimeIsUp


def seeds_of(text: str | None) -> list[int] | None:
    """Return the seeds of `--seeds`: the first N, or a list of them; None: those of the task.

    >>> seeds_of("3"), seeds_of("0,4")
    ([0, 1, 2], [0, 4])

    Raises `RecipeError` for another form, a seed twice, one that settings are chosen with, or too many.
    """
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise RecipeError(f"--seeds {quoted(text)}: must be a number of seeds, or seeds as 0,1,2")
    numbers = [int(part) for part in parts]
    seeds = list(range(numbers[0])) if len(numbers) == 1 else numbers
    if not 1 <= len(seeds) <= MOST_SEEDS:
        raise RecipeError(f"--seeds {quoted(text)}: must be 1 to {MOST_SEEDS} seeds")
    for place, seed in enumerate(seeds):
        if seed in seeds[:place]:
            raise RecipeError(f"--seeds {text}: seed {seed} is there twice; its runs would count double")
        if seed in TUNING_SEEDS:
            raise RecipeError(f"--seeds {text}: settings are chosen with seed {seed}; use another one")
    return seeds


def replicate(
    rows: Sequence[Replication],
    out: Path,
    *,
    seeds: Sequence[int] | None = None,
    size: Size = FULL,
    minutes: float | None = None,
    on_existing: OnExisting = "resume",
    page: Path | None = None,
) -> Outcome:
    """Make the runs that are missing, and write result, figure and page.

    Args:
        seeds: of every replication; None: as many as its task has.
        minutes: after which no further run begins.
        page: a folder that gets the page, results and figures too.

    Raises:
        InputError, RecipeError: a task cannot be run here.
        ExistingOutputError: `out` contains something else, or runs of another design; `page` is inside the
            output of another command, or has a page that is none of these.
        Interrupted: SIGINT; the same command continues.
        PairkitError: whatever builds and trainings raise.
    """
    with only_named(_CHECKS):
        if page is not None:
            check_page(page, out)
        for task in {row.task.name: row.task for row in rows}.values():
            task.check()
        outside_others(out)
        # Asked before the lock as well, because locking writes.
        check_ours(out)
        clock = _Clock(minutes)
        bench = _benches(out, size, clock.begin)
        again = f"{out}: stopped; the same command continues"
        with none_empty(out), owned(out), stoppable(out, lambda: again):
            claim(out)
            # All before the first run: hours later is too late to say that one of them has changed.
            for row in rows:
                claim_design(out, row, size, on_existing)
            outcome = Outcome([], [])
            for row in rows:
                try:
                    result = _replicated(row, out, _seeds(row, seeds), size, bench)
                # Not the end: the runs of a later one may all be there.
                except _TimeIsUp:
                    outcome.unfinished.append(row.id)
                    continue
                write_json(out / RESULTS / f"{row.id}.json", result)
                outcome.results.append(result)
                log(f"{row.id}: {result['verdict']}")
            write_page(out, size)
        if page is not None:
            with publishing(page):
                for result in outcome.results:
                    write_json(page / RESULTS / f"{result['id']}.json", result)
                write_page(page, FULL)
        return outcome


def planned(
    rows: Sequence[Replication], out: Path, seeds: Sequence[int] | None = None, size: Size = FULL
) -> list[Work]:
    """Return the runs of each replication, those that are done, and the minutes of the others."""
    bench = _benches(out, size, lambda: None)
    return work(rows, lambda row: _seeds(row, seeds), size, bench)


def _benches(out: Path, size: Size, begin: Callable[[], None]) -> Callable[[Replication, int], Bench]:
    # One for a task and seed, because replications share starts, candidate sets and equal runs.
    benches: dict[tuple[str, int], Bench] = {}

    def bench(row: Replication, seed: int) -> Bench:
        key = row.task.name, seed
        if key not in benches:
            benches[key] = Bench(row.task, out / row.task.name / f"seed-{seed}", seed, size, begin)
        return benches[key]

    return bench


def _seeds(row: Replication, seeds: Sequence[int] | None) -> Sequence[int]:
    return range(row.task.seeds) if seeds is None else seeds


def _replicated(
    row: Replication,
    out: Path,
    seeds: Sequence[int],
    size: Size,
    bench: Callable[[Replication, int], Bench],
) -> dict[str, Any]:
    chosen = {name: _chosen(row, name, out, size, bench) for name in row.arms}
    measurements = [
        _measured(row, {name: each.arm for name, each in chosen.items()}, bench(row, seed)) for seed in seeds
    ]
    return result(row, measurements, chosen, size)


def _chosen(
    row: Replication, name: str, out: Path, size: Size, bench: Callable[[Replication, int], Bench]
) -> Tuned:
    record = out / "designs" / row.id / f"{name.replace('/', '-')}.json"
    return tuned(row.arms[name].sized(size), lambda seed: bench(row, seed), size, record)


def _measured(row: Replication, arms: dict[str, Arm], bench: Bench) -> Seed:
    """Measure all arms at one seed; what is measured already is read."""
    models = {name: bench.measured(arm, "test") for name, arm in arms.items()}
    sets = {name: arm.sets for name, arm in arms.items()}
    first = next(iter(sets.values()))
    models[START] = {0: bench.measured_start(first, "test")}
    questions = row.task.asked("test", bench.size)
    return Seed(bench.seed, models, {**sets, START: first}, row.task.groups(questions))
