"""A small task and replications on it, real in every part: a random model, pairs of `chain`, two steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LlamaForCausalLM

from pairkit.quickstart.model import save_start, tiny_config
from pairkit.replication.design import Arm, Replication, Statistic
from pairkit.replication.measured import START, Measured, Seed
from pairkit.replication.quantities import accuracy, chosen_ratio
from pairkit.replication.statistics import difference, level
from pairkit.replication.tasks.base import Size, Task
from pairkit.replication.tasks.small import CHAIN
from pairkit.sources import chain
from pairkit.sweep.grid import Axis, axis

SMALL = Size("small", prompts=40, problems=6, samples=2, pairs=12)
RATES = axis("optimizer.learning_rate", [1e-3, 3e-2])


def random_start(task: Task, folder: Path, seed: int, size: Size) -> Path:
    """Save a model of random weights, another one for each seed."""
    target = folder / "sft" / "model"
    if not target.is_dir():
        save_start(target, chain.ALPHABET)
        torch.manual_seed(seed)
        LlamaForCausalLM(tiny_config(chain.ALPHABET)).save_pretrained(target)
    return target


TASK = replace(
    CHAIN,
    name="T",
    sets={"pairs": {**CHAIN.sets["pairs"], "test_fraction": 0.0}},
    training={**CHAIN.training, "sets_per_step": 4},
    seeds=2,
    start=random_start,
)


def arm(loss: str = "dpo", steps: int = 2, *, grid: tuple[Axis, ...] = (), **more: Any) -> Arm:
    return Arm({"name": loss, "beta": 0.1}, "pairs", steps, rate=1e-2, grid=grid, **more)


def replication(name: str = "T1", arms: Mapping[str, Arm] | None = None, task: Task = TASK) -> Replication:
    arms = arms or {"dpo": arm(), "minor_dpo": arm("minor_dpo")}
    first, second = list(arms)[:2]
    return Replication(
        id=name,
        paper="none",
        claim="The second arm gains more",
        published="nothing",
        task=task,
        arms=arms,
        statistics=(
            Statistic("gain", partial(difference, first=second, second=first, of=chosen_ratio), 0.1, "nats"),
            Statistic("level", partial(level, arm=second, of=accuracy), 0.02, decides=False),
        ),
        falsified="the reverse",
        shows=("chosen_ratio", "accuracy"),
        differs="Everything. Nothing.",
    )


# Two arms that are measured while they are trained, one of them with a grid.
TUNED = replication(
    "T1", {"dpo": arm("dpo", grid=(RATES,), marks=(1,)), "minor_dpo": arm("minor_dpo", marks=(1,))}
)


def measured(
    random: np.random.Generator, *, right: float = 0.5, problems: int = 40, pairs: int = 60
) -> Measured:
    """Made-up numbers of a model; three pairs per set."""
    names = ("chosen", "rejected", "chosen_logp", "rejected_logp")
    return Measured(
        {
            "right": (random.random(problems) < right).astype(float),
            "malformed": random.random(problems) / 10,
            "entropy": 0.1 + random.random(problems),
            "distinct": random.integers(0, 5, problems).astype(float),
        },
        {
            "set": np.arange(pairs) // 3 * 1.0,
            **{name: random.normal(-1.0, 1.0, pairs) for name in names},
            "chosen_length": random.integers(2, 6, pairs).astype(float),
            "rejected_length": random.integers(2, 6, pairs).astype(float),
            "effective": random.random(pairs),
        },
        seconds=60.0,
    )


def made_up(row: Replication, number: int = 0, size: Size | None = None) -> Seed:
    """Made-up numbers of all arms of a replication."""
    random = np.random.default_rng(number)
    arms = {name: each.sized(size) if size else each for name, each in row.arms.items()}
    models = {
        name: {step: measured(random) for step in (*each.marks, each.steps)} for name, each in arms.items()
    }
    sets = {name: each.sets for name, each in arms.items()}
    first = next(iter(sets.values()))
    return Seed(number, {START: {0: measured(random)}, **models}, {START: first, **sets}, list(range(40)))
