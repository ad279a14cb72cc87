"""Tasks A, B and C: generated problems, and the quickstart's model, which is taught until half is right."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from pairkit.engines.transformers import load_transformers
from pairkit.pipeline import recipe as build_recipes
from pairkit.pipeline.build import build
from pairkit.quickstart.model import save_start
from pairkit.quickstart.run import ROUNDS, fine_tune
from pairkit.quickstart.settings import Settings
from pairkit.replication.tasks.base import Size, Task
from pairkit.replication.tasks.checks import NEARNESS
from pairkit.schema import identify
from pairkit.sources import arithmetic, chain, split
from pairkit.sources.generated import groups_of

# Of every arm, as in the recipes of the quickstart; evaluations on held-out sets are of no use here.
TRAINING: Mapping[str, Any] = {
    "optimizer": {"schedule": "linear", "warmup": 0.1, "betas": [0.9, 0.98]},
    "sets_per_step": 32,
    "max_length": 32,
    "tokens_per_micro_batch": 16384,
    "eval_limit": 64,
    "trackers": [],
}
SIX = [{"n": 2, "temperature": temperature} for temperature in (0.6, 0.8, 1.0)]
EIGHT = [{"n": n, "temperature": temperature} for n, temperature in ((2, 0.6), (3, 0.8), (3, 1.0))]
POLICY = {"chosen": "best", "rejected": "policy"}
SWAP = {"noise": {"token_swap": {"swaps": 1}}}
HELD_OUT = 0.1


def sampled(
    check: str, max_tokens: int, samples: object = SIX, mine: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the fields of a build whose completions the start samples and a verifier scores."""
    return {
        "generate": {"samples": samples, "max_tokens": max_tokens},
        "rank": {"ranker": "verifier", "check": check},
        "mine": POLICY | dict(mine or {}),
        "test_fraction": HELD_OUT,
    }


def generated(name: str, _: Path, size: Size) -> dict[str, Any]:
    """Return the `source:` block of a generated source."""
    return {"name": name, "split": "train", "limit": size.prompts}


def problems_of(sets: Callable[[Any], pa.Table], name: str) -> pa.Table:
    """Return a split of a source as candidate sets."""
    return identify(sets(name), {})


def taught(
    task: Task,
    folder: Path,
    seed: int,
    size: Size,
    *,
    alphabet: str = arithmetic.ALPHABET,
    enough: float = 0.4,
    rounds: int = ROUNDS,
) -> Path:
    """Teach a model of random weights the task, in rounds, until `enough` of its answers are right."""
    save_start(folder / "start", alphabet)
    fields = {"source": task.source(folder, size), "mine": {"require_choice": False}, "test_fraction": 0.0}
    build(build_recipes.load(None, fields, {}), folder / "problems")

    def right(model: Path) -> float:
        # Two answers each: only whether to continue depends on them.
        return float(
            task.answered(load_transformers(str(model)), "tuning", size, seed, samples=2).values.mean()
        )

    settings = Settings(seed=seed, sft_steps=size.rounds, prompts=size.prompts)
    fine_tune(folder, settings, right, enough, rounds)
    return folder / "sft" / "model"


ARITHMETIC = Task(
    name="A",
    summary="sums of two numbers below 60; one right answer",
    source=partial(generated, "arithmetic"),
    sets={
        "plain": sampled("exact", 6),
        "sets": sampled("exact", 6, mine=SWAP),
        **{f"near-{n}": sampled(NEARNESS, 6, EIGHT, {"keep_negatives": n}) for n in range(1, 6)},
    },
    training=TRAINING,
    verifier={"check": "exact"},
    form=r"[0-9]{1,3}",
    samples=8,
    max_tokens=6,
    seeds=5,
    problems=partial(problems_of, arithmetic.sets),
    groups=groups_of,
    start=taught,
    seconds=(100, 0.16, 6),
)
SPLIT = Task(
    name="B",
    summary="a number as a sum of two; many right answers",
    source=partial(generated, "split"),
    sets={"plain": sampled(split.CHECK, 7)},
    training=TRAINING,
    verifier={"check": split.CHECK},
    form=r"[0-9]{1,2}\+[0-9]{1,2}",
    samples=64,
    max_tokens=7,
    seeds=5,
    problems=partial(problems_of, split.sets),
    groups=groups_of,
    # It learns much slower than the others, because most of a completion is free.
    start=partial(taught, enough=0.3, rounds=50),
    seconds=(180, 0.2, 10),
)
CHAIN = Task(
    name="C",
    summary="the partial sums of three numbers; pairs that differ in one digit",
    source=partial(generated, "chain"),
    sets={
        # The source's own: the right answer, and a copy with one wrong digit.
        "pairs": {"mine": POLICY, "test_fraction": HELD_OUT},
        "sets": sampled("exact", 9, mine=SWAP),
    },
    training=TRAINING,
    verifier={"check": "exact"},
    form=r"[0-9]{1,3};[0-9]{1,3}",
    samples=8,
    max_tokens=9,
    seeds=5,
    problems=partial(problems_of, chain.sets),
    groups=groups_of,
    start=partial(taught, alphabet=chain.ALPHABET),
    seconds=(80, 0.2, 7),
)
