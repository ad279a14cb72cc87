"""Checkpoints: a directory that appears whole or not at all.

Which sets a step takes and which negatives it draws are functions of (seed, step), so a checkpoint is the
model, the optimizer, the schedule, the loss's running statistics and the number of steps done.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pairkit.errors import OutputError
from pairkit.losses import Loss, WeightedSum

CHECKPOINTS = "checkpoints"  # the folder of a run's checkpoints
OTHERS = ("optimizer", "schedule", "loss")  # what stands beside the model in a checkpoint


@dataclass(frozen=True)
class State:
    """All that a step changes."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Any
    loss: Loss | WeightedSum


def save(folder: Path, step: int, state: State, *, keep: int) -> Path:
    """Writes `folder/step-NNNNNN` and removes all but the last `keep` checkpoints."""
    target = folder / f"step-{step:06d}"
    temporary = folder / f".{target.name}.part"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        torch.save(state.model.state_dict(), temporary / "model.pt")
        others = {name: getattr(state, name).state_dict() for name in OTHERS}
        torch.save(others, temporary / "state.pt")
        (temporary / "step.json").write_text(json.dumps({"step": step}))
        _flush(temporary)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(temporary, target)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise OutputError(f"{target}: the checkpoint cannot be written: {error.strerror or error}") from error
    for old in checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return target


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first."""
    return sorted(folder.glob("step-*"), key=lambda path: int(path.name.removeprefix("step-")))


def restore(checkpoint: Path, state: State) -> int:
    """Loads a checkpoint; the number of steps done."""
    state.model.load_state_dict(torch.load(checkpoint / "model.pt", weights_only=True, map_location="cpu"))
    others = torch.load(checkpoint / "state.pt", weights_only=True, map_location="cpu")
    for name in OTHERS:
        getattr(state, name).load_state_dict(others[name])
    return int(json.loads((checkpoint / "step.json").read_text())["step"])


def _flush(folder: Path) -> None:
    for path in folder.iterdir():
        with path.open("rb") as handle:
            os.fsync(handle.fileno())
