"""Online trainings of the quickstart's tiny model with random weights, and checks that it passes."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from support.tiny import save_model

from pairkit.losses.logistic import dpo
from pairkit.losses.types import Logps, LossOutput
from pairkit.online.recipe import OnlineRecipe, load
from pairkit.recipes import merge

# Called before each check: the process that `kills` starts ends itself in there.
before_check: list[Any] = []

# The shipped recipes of MC-PO's online setting, which need a judge.
OF_PAPERS = ("onmcpo-instruct", "onmcpo-nectar", "onmcpo-nectar-mistral", "online-dpo-instruct")


def luck(text: str, metadata: Mapping[str, Any]) -> float:
    """A score that differs between most texts; longer ones are better, so that no policy falls silent."""
    for call in before_check:
        call()
    return len(text) + hashlib.sha256(f"{text} {metadata['answer']}".encode()).digest()[0] / 256


def leveled(text: str, metadata: Mapping[str, Any]) -> float:
    """Right whatever is written to some prompts, wrong to others, and between them by the text."""
    level = int(metadata["answer"][0])
    return float(level > 6 or (level > 3 and len(text) % 2 == 0))


def never(text: str, metadata: Mapping[str, Any]) -> float:
    """A check that nothing passes."""
    return 0.0


def patient(policy: Logps, reference: Logps, *, beta: float = 0.1) -> LossOutput:
    """DPO's loss, computed after as many seconds as the environment says: a training that can be met."""
    time.sleep(float(os.environ.get("PAIRKIT_TEST_PAUSE", "0")))
    return dpo(policy, reference, beta=beta, label_smoothing=0.0)


def dies(text: str, metadata: Mapping[str, Any]) -> float:
    """A check that ends its process as an engine without memory does."""
    print("CUDA out of memory", flush=True)
    os._exit(9)


def recipe(model: Path, **fields: Any) -> OnlineRecipe:
    """Make a recipe of six steps in three segments, with several batches and units per segment."""
    return load(None, content(model, **fields))


def content(model: Path, **fields: Any) -> dict[str, Any]:
    """Make the fields of such a recipe; `fields` are merged into them."""
    base = {
        "model": str(model),
        "build": {
            "source": {"name": "arithmetic", "limit": 60},
            "generate": {
                "samples": [{"n": 1, "temperature": 0}, {"n": 2, "temperature": 1.0}],
                "max_tokens": 4,
                "batch_tokens": 200,
            },
            "rank": {"ranker": "verifier", "check": "support.online:luck"},
            "mine": {"rejected": "policy"},
            "test_fraction": 0.1,
            "unit_rows": 5,
        },
        "train": {
            "loss": {"name": "mcpo"},
            "optimizer": {"learning_rate": 2e-3},
            "sets_per_step": 6,
            "max_steps": 6,
            "max_length": 32,
            "save_every": 1,
            "trackers": [],
        },
    }
    return merge(base, fields)


def start_model(folder: Path) -> Path:
    """Save the first policy."""
    return save_model(folder, seed=0)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def write(file: Path, content: Mapping[str, Any]) -> Path:
    """Write a recipe file."""
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file
