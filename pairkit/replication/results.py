"""The result of a replication as plain values: what is written to ID.json, and what page and figure show."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pairkit.replication.design import Replication, Statistic
from pairkit.replication.measured import START, Seed
from pairkit.replication.quantities import QUANTITIES
from pairkit.replication.tasks.base import Size
from pairkit.replication.tuning import Tuned
from pairkit.replication.verdicts import Estimate, estimate, joined, verdict
from pairkit.version import __version__

DIGITS = 6  # significant ones


def result(
    row: Replication, seeds: Sequence[Seed], choices: Mapping[str, Tuned], size: Size
) -> dict[str, Any]:
    """Estimate the statistics of a replication, and decide."""
    estimates = [(each, estimate(each.of, seeds)) for each in row.statistics]
    return {
        "id": row.id,
        "pairkit": __version__,
        "design": row.digest(size),
        "size": size.name,
        "seeds": [seed.number for seed in seeds],
        "verdict": joined(verdict(each.interval, of.least) for of, each in estimates if of.decides),
        "statistics": [_statistic(of, each) for of, each in estimates],
        "arms": [_arm(name, seeds, row, choices) for name in (START, *row.arms)],
        "tuning": {name: dict(each.tried) for name, each in choices.items() if each.tried},
        "machine": machine(),
        "minutes": _short((_seconds(seeds) + sum(each.seconds for each in choices.values())) / 60),
    }


def machine() -> str:
    """Name the machine that the minutes are of: the model of its processor, and the cores."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{models[0] if models else platform.machine()}, {len(os.sched_getaffinity(0))} cores"


def _statistic(of: Statistic, estimation: Estimate) -> dict[str, Any]:
    interval = estimation.interval
    return {
        "name": of.name,
        "unit": of.unit,
        "least": _short(of.least * of.scale),
        **{name: _short(value * of.scale) for name, value in interval._asdict().items()},
        "seeds": [_short(value * of.scale) for value in estimation.seeds],
        "verdict": verdict(interval, of.least),
        "decides": of.decides,
    }


def _arm(name: str, seeds: Sequence[Seed], row: Replication, choices: Mapping[str, Tuned]) -> dict[str, Any]:
    """Return what is shown of an arm: per quantity and number of steps, a value per seed."""
    steps = sorted(seeds[0].arms[name])
    return {
        "name": name,
        "settings": choices[name].chosen if name in choices else "",
        "steps": steps,
        "values": {
            quantity: [
                [_short(QUANTITIES[quantity].of(seed.at(name, step))) for seed in seeds] for step in steps
            ]
            for quantity in row.shows
        },
    }


def _seconds(seeds: Sequence[Seed]) -> float:
    # They count from the start of a run, so that those of its last mark hold all others.
    return sum(
        max(model.seconds for model in marks.values()) for seed in seeds for marks in seed.arms.values()
    )


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
