"""The result of a replication as plain values: what is written to ID.json, and what page and figure show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pairkit import __version__
from pairkit.replication.design import Replication
from pairkit.replication.measured import START, Seed
from pairkit.replication.quantities import QUANTITIES
from pairkit.replication.tasks.base import Size
from pairkit.replication.tuning import Tuned
from pairkit.replication.verdicts import estimate, joined, verdict

DIGITS = 6  # significant ones


def result(row: Replication, seeds: Sequence[Seed], tuned: Mapping[str, Tuned], size: Size) -> dict[str, Any]:
    """Estimate the statistics of a replication, and decide."""
    statistics = []
    for each in row.statistics:
        interval, values = estimate(each.of, seeds)
        statistics.append(
            {
                "name": each.name,
                "unit": each.unit,
                "least": _short(each.least * each.scale),
                "mean": _short(interval.mean * each.scale),
                "low": _short(interval.low * each.scale),
                "high": _short(interval.high * each.scale),
                "seeds": [_short(value * each.scale) for value in values],
                "verdict": verdict(interval, each.least),
                "decides": each.decides,
            }
        )
    return {
        "id": row.id,
        "pairkit": __version__,
        "design": row.digest(size),
        "size": size.name,
        "seeds": [seed.number for seed in seeds],
        "verdict": joined(each["verdict"] for each in statistics if each["decides"]),
        "statistics": statistics,
        "arms": {name: _arm(name, seeds, row) for name in (START, *row.arms)},
        "settings": {name: each.chosen for name, each in tuned.items() if each.chosen},
        "tuning": {name: dict(each.tried) for name, each in tuned.items() if each.tried},
        "minutes": _short((_seconds(seeds) + sum(each.seconds for each in tuned.values())) / 60),
    }


def _arm(name: str, seeds: Sequence[Seed], row: Replication) -> dict[str, dict[str, list[float]]]:
    """Return the quantities that are shown of an arm: by the number of steps, a value per seed."""
    return {
        quantity: {
            str(step): [_short(QUANTITIES[quantity].of(seed.at(name, step))) for seed in seeds]
            for step in sorted(seeds[0].arms[name])
        }
        for quantity in row.shows
    }


def _seconds(seeds: Sequence[Seed]) -> float:
    return sum(
        max(model.seconds for model in marks.values()) for seed in seeds for marks in seed.arms.values()
    )


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
