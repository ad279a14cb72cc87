"""Checkpoints: directories that appear whole or not at all, loaded only while they are what was written.

Which sets a step takes, which negatives it draws and where its random numbers start are functions of
(seed, step), so a checkpoint is the model, the optimizer, the schedule, the loss's running statistics, the
count of skipped steps and the number of steps done.
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
from pairkit.files import partial, publish, sha256
from pairkit.losses import Loss, WeightedSum
from pairkit.progress import console
from pairkit.training.distributed.processes import Processes
from pairkit.training.distributed.sharding import gather_tensors, shard_like
from pairkit.training.step.skipped import Skipped

CHECKPOINTS = "checkpoints"  # the folder of a run's checkpoints
MODEL, REST, RECORD = "model.pt", "state.pt", "step.json"  # the files of a checkpoint
OTHERS = ("optimizer", "schedule", "loss", "skipped")  # what stands beside the model in a checkpoint


@dataclass(frozen=True)
class State:
    """All that a step changes."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Any
    loss: Loss | WeightedSum
    skipped: Skipped


def content(state: State, processes: Processes) -> dict[str, Any]:
    """What `save` writes, by file; of a sharded model every process has to bring its parts."""
    others = {name: getattr(state, name).state_dict() for name in OTHERS}
    return {MODEL: trained(state.model, processes), REST: gather_tensors(others, keep=processes.main)}


def trained(model: nn.Module, processes: Processes) -> dict[str, Any]:
    """The weights that training changes, not in parts, and buffers; frozen weights are as the run began."""
    parameters = model.named_parameters(remove_duplicate=False)
    names = {name for name, p in parameters if p.requires_grad} | {name for name, _ in model.named_buffers()}
    weights = {name: value for name, value in model.state_dict().items() if name in names}
    found: dict[str, Any] = gather_tensors(weights, keep=processes.main)
    return found


def save(folder: Path, step: int, files: dict[str, Any], *, keep: int) -> Path:
    """Writes `folder/step-NNNNNN` and removes all but the last `keep` checkpoints.

    Later ones are removed too: the run has gone on from before them, so they were damaged.
    """
    target = named(folder, step)
    temporary = partial(target)
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        for name, values in files.items():
            _write(values, temporary / name)
        stamps = {name: _stamp(temporary / name) for name in files}
        (temporary / RECORD).write_text(json.dumps({"step": step, "files": stamps}), encoding="utf-8")
        if target.exists():
            _remove(target)
        publish(temporary, target)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise OutputError(f"{target}: the checkpoint cannot be written: {error.strerror or error}") from error
    until = [path for path in checkpoints(folder) if _number(path) <= step]
    for old in set(checkpoints(folder)).difference(until[-keep:]):
        _remove(old)
    return target


def named(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step is."""
    return folder / f"step-{step:06d}"


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first."""
    found = (path for path in folder.glob("step-*") if path.name.removeprefix("step-").isdigit())
    return sorted(found, key=_number)


def restore(folder: Path, state: State, processes: Processes) -> int:
    """Loads the last checkpoint that is not damaged; the number of steps done, 0 without one.

    The first process looks which one that is, and removes what a killed one left of others.
    """
    last = processes.broadcast_from_main(lambda: _last(folder))
    if last is not None:
        weights = torch.load(last / MODEL, weights_only=True, map_location="cpu")
        fill(state.model, weights)
        others = torch.load(last / REST, weights_only=True, map_location="cpu")
        of_parameters = others["optimizer"]["state"]
        parameters = [p for group in state.optimizer.param_groups for p in group["params"]]
        for number, values in of_parameters.items():
            of_parameters[number] = {n: shard_like(value, parameters[number]) for n, value in values.items()}
        for name in OTHERS:
            getattr(state, name).load_state_dict(others[name])
    processes.wait()  # all have read before one writes
    return _number(last) if last is not None else 0


def fill(model: nn.Module, weights: dict[str, Any]) -> None:
    """Gives the model the weights that `trained` gave; the others stay as they are."""
    present = model.state_dict()
    parts = {name: shard_like(value, present[name]) for name, value in weights.items()}
    model.load_state_dict(parts, strict=False)


def _last(folder: Path) -> Path | None:
    """The newest checkpoint that is not damaged; of newer ones it is said what is wrong with them."""
    for left in folder.glob(".step-*"):
        shutil.rmtree(left, ignore_errors=True)
    found = checkpoints(folder)
    while found:
        newest = found.pop()
        damage = _damage(newest)
        if damage is None:
            return newest
        instead = f"the one before it is {found[-1].name}" if found else "there is no other"
        goes_on = "the run goes on from there" if found else "the run starts from the beginning"
        console.print(f"{newest}: the checkpoint is damaged ({damage}); {instead}, {goes_on}", markup=False)
    return None


def _damage(checkpoint: Path) -> str | None:
    """What is not as it was written."""
    try:
        record = json.loads((checkpoint / RECORD).read_text(encoding="utf-8"))
        step, files = record["step"], dict(record["files"])
    except FileNotFoundError:
        return f"{RECORD} is missing"
    except (ValueError, KeyError, TypeError):
        return f"{RECORD} is not what was written"
    if step != _number(checkpoint):
        return f"{RECORD} is that of step {step}"
    for name in (MODEL, REST):
        path, written = checkpoint / name, files.get(name)
        if not path.is_file():
            return f"{name} is missing"
        if written != _stamp(path):
            return f"{name} is not what was written"
    return None


def _stamp(path: Path) -> dict[str, Any]:
    """What a file is known again by."""
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}


def _number(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))


def _remove(checkpoint: Path) -> None:
    """Its name goes first, so that a kill leaves no half of it under that name."""
    gone = checkpoint.with_name(f".{checkpoint.name}.gone")
    os.replace(checkpoint, gone)
    shutil.rmtree(gone)


def _write(content: Any, path: Path) -> None:
    """torch hides why a write failed behind an error of its own; that of a file of ours it keeps."""
    with path.open("wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None
