"""Small runs that have recorded everything, and their files as plain rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from support.tiny import random_sets, write_data
from support.training import recipe

from pairkit.training.run import train

ALL: dict[str, Any] = {
    "figures": True, "pairs": True, "report_sets": 16,
    "samples": {
        "every": 2, "prompts": 4, "per_prompt": 2, "max_tokens": 6, "check": "support.verifiers:vowels",
    },
}  # fmt: skip
KL = {**ALL, "kl": True}
# Of each a run: the keywords of its loss, and fields of its recipe.
RUNS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "dpo/seed-0": ({"name": "dpo", "beta": 0.5}, {"record": ALL}),
    "dpo/seed-1": ({"name": "dpo", "beta": 0.5}, {"record": ALL, "seed": 1}),
    "mcpo": ({"name": "mcpo", "beta": 0.5}, {"record": ALL}),
    "simpo": ({"name": "simpo"}, {"record": KL}),
    "stapo": ({"name": "stapo"}, {"record": KL}),
    "alpha": ({"name": "alpha_dpo", "alpha": 0.2}, {"record": KL}),
    "spo": ({"name": "spo", "alpha": 0.4}, {"record": ALL}),
    "plain": ({"name": "dpo"}, {}),
}


def recorded_data(folder: Path) -> Path:
    """A dataset of 24 sets, and 8 held-out ones with an answer that a verifier looks for."""
    held_out = random_sets(8, seed=1)
    answers = pa.array(['{"answer": "7"}'] * held_out.num_rows)
    place = held_out.schema.get_field_index("metadata")
    return write_data(folder, random_sets(24), held_out.set_column(place, "metadata", answers))


def record(folder: Path, data: Path, model: Path, *names: str) -> dict[str, Path]:
    """Train runs of `RUNS`, in folders of their names."""
    for name in names or RUNS:
        loss, fields = RUNS[name]
        train(recipe(data, model, loss, eval_every=2, trackers=[], **fields), folder / name)
    return {name: folder / name for name in names or RUNS}


def lines_of(run: Path, kind: str) -> Iterator[dict[str, Any]]:
    """The lines of a kind of a run's metrics."""
    for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if entry["kind"] == kind:
            yield entry


def completions_of(run: Path, step: int, split: str = "train") -> dict[str, list[dict[str, Any]]]:
    """The recorded completions of each set of a split, the chosen one first."""
    sets: dict[str, list[dict[str, Any]]] = {}
    for row in pq.read_table(run / "pairs" / f"step-{step:06d}.parquet").to_pylist():
        if row["split"] == split:
            sets.setdefault(row["set_id"], []).append(row)
    return sets


def pairs_of(run: Path, step: int, split: str = "train") -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The recorded pairs of a chosen completion and another one of its set."""
    every = completions_of(run, step, split).values()
    return [(chosen, rejected) for chosen, *others in every for rejected in others]


def samples_of(run: Path, step: int) -> list[dict[str, Any]]:
    """The recorded samples of a step."""
    rows: list[dict[str, Any]] = pq.read_table(run / "samples" / f"step-{step:06d}.parquet").to_pylist()
    return rows
