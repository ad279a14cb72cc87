"""Checkpoints: directories that appear whole or not at all, and are loaded only if unchanged since then.

Which sets a step takes, which negatives it draws and where its random numbers start are functions of
(seed, step), and so is the learning rate: a checkpoint is the model, the optimizer, the loss's running
statistics, the count of skipped steps and the number of steps done; of a run that records pairs, also how
often each completion of the report has been drawn.
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
from pairkit.files import file_record, partial, publish, read_json
from pairkit.losses import Loss, WeightedSum
from pairkit.models.resolve import CHECKPOINT_RECORD
from pairkit.progress import warn
from pairkit.training.distributed.processes import Processes
from pairkit.training.distributed.sharding import gather_tensors, shard_like
from pairkit.training.record.drawn import Drawn
from pairkit.training.step.optimizer import StepOptimizer
from pairkit.training.step.skipped import Skipped

CHECKPOINTS = "checkpoints"  # the folder of a run's checkpoints
WEIGHTS_FILE, STATE_FILE, RECORD_FILE = "model.pt", "state.pt", CHECKPOINT_RECORD  # the files of a checkpoint
STATE_PARTS = ("optimizer", "loss", "skipped")  # the non-model parts of a checkpoint


@dataclass(frozen=True)
class State:
    """All that a step changes.

    Attributes:
        drawn: what is counted for the report; None where nothing is.
    """

    model: nn.Module
    optimizer: StepOptimizer
    loss: Loss | WeightedSum
    skipped: Skipped
    drawn: Drawn | None = None


def content(state: State, processes: Processes) -> dict[str, Any]:
    """Collect what `save` writes, by file.

    Every process has to call it, because gathering a sharded model is collective; the main one has the
    result.
    """
    parts = {name: getattr(state, name).state_dict() for name in STATE_PARTS}
    if state.drawn is not None:
        parts["drawn"] = state.drawn.state_dict()
    return {
        WEIGHTS_FILE: trained(state.model, processes),
        STATE_FILE: gather_tensors(parts, keep=processes.main),
    }


def trained(model: nn.Module, processes: Processes) -> dict[str, Any]:
    """Collect the weights that training changes, in one piece, and buffers.

    Frozen weights are left out, because they are loaded again from where they came.
    """
    # With duplicates, because tied weights have two names in a state dict.
    parameters = model.named_parameters(remove_duplicate=False)
    # Buffers are few, and a forward pass may change them without a gradient.
    names = {name for name, p in parameters if p.requires_grad} | {name for name, _ in model.named_buffers()}
    weights = {name: value for name, value in model.state_dict().items() if name in names}
    tensors: dict[str, Any] = gather_tensors(weights, keep=processes.main)
    return tensors


def save(folder: Path, step: int, files: dict[str, Any], *, keep: int, best: int | None = None) -> Path:
    """Write `folder/step-NNNNNN` and remove all but the last `keep` checkpoints and that of step `best`.

    Later ones are removed too: the run resumed from before them, because they were damaged.
    """
    target = checkpoint_path(folder, step)
    # Under another name until it is whole; what a killed run left there is worthless.
    temporary = partial(target)
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        for name, values in files.items():
            _write(values, temporary / name)
        # Of the files and not of the tensors, because a later start compares them with the files.
        fingerprints = {name: file_record(temporary / name) for name in files}
        record = json.dumps({"step": step, "files": fingerprints})
        (temporary / RECORD_FILE).write_text(record, encoding="utf-8")
        if target.exists():  # a damaged one, because the run resumed from before it
            remove(target)
        publish(temporary, target)  # a rename, after all is on disk: the name means a whole checkpoint
    except OSError as error:
        # Its space is freed, because the usual reason is a full disk.
        shutil.rmtree(temporary, ignore_errors=True)
        raise OutputError(f"{target}: the checkpoint cannot be written: {error.strerror or error}") from error
    # After the new one is published, because a kill in between must leave one to resume from.
    # Of those up to this step the last are kept: a later, damaged one must not displace a sound one.
    until = [path for path in checkpoints(folder) if steps_done(path) <= step]
    remaining = {*until[-keep:], *(path for path in until if steps_done(path) == best)}
    for old in set(checkpoints(folder)) - remaining:
        remove(old)
    return target


def checkpoint_path(folder: Path, step: int) -> Path:
    """Return the path of a step's checkpoint."""
    # Padded, so that a listing is in the order of steps.
    return folder / f"step-{step:06d}"


def checkpoints(folder: Path) -> list[Path]:
    """List the checkpoints in a folder, oldest first."""
    # Digits only, because a person may have kept a copy, such as step-000100.old.
    paths = (path for path in folder.glob("step-*") if path.name.removeprefix("step-").isdigit())
    return sorted(paths, key=steps_done)  # by value, because from a million on names have seven digits


def restore(folder: Path, state: State, processes: Processes, start: Path | None = None) -> int:
    """Load the last undamaged checkpoint, or else `start`; return the number of steps done, 0 without one.

    The main process chooses it for all, because two that resumed from different steps would never meet, and
    removes what a killed one left of others.
    """
    last = processes.broadcast_from_main(lambda: newest_undamaged(folder) or start)
    if last is not None:
        load_weights(last, state.model)
        parts = _load(last / STATE_FILE)
        moments = parts["optimizer"]["state"]  # by the parameter's number; moments have its shape
        # In the order in which the optimizer's own state dict numbers them.
        parameters = state.optimizer.weights
        # Saved whole, loaded in parts: a run may resume with another number of processes.
        for number, values in moments.items():
            moments[number] = {n: shard_like(value, parameters[number]) for n, value in values.items()}
        for name in STATE_PARTS:
            getattr(state, name).load_state_dict(parts[name])
        if state.drawn is not None and last != start:  # a segment has sets of its own
            state.drawn.load_state_dict(parts.get("drawn"))
    processes.wait()  # because the main one may soon remove what another still reads
    return steps_done(last) if last is not None else 0


def load_weights(checkpoint: Path, model: nn.Module) -> None:
    """Load the weights of a checkpoint into a model, in parts if it is sharded."""
    fill(model, _load(checkpoint / WEIGHTS_FILE))


def fill(model: nn.Module, weights: dict[str, Any]) -> None:
    """Load the weights that `trained` collected; the others stay as they are."""
    current = model.state_dict()
    parts = {name: shard_like(value, current[name]) for name, value in weights.items()}
    model.load_state_dict(parts, strict=False)  # not strict, because frozen weights are not among them


def _load(path: Path) -> Any:
    # Tensors only, because unpickling anything else could run code.
    # On the CPU first: every process reads the whole checkpoint, and keeps its part of it.
    return torch.load(path, weights_only=True, map_location="cpu")


def newest_undamaged(folder: Path) -> Path | None:
    """Find the newest undamaged checkpoint; print what is wrong with newer ones."""
    # Half-written and half-removed ones have names of their own, and are never considered.
    for leftover in folder.glob(".step-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    remaining = checkpoints(folder)
    while remaining:
        newest = remaining.pop()
        problem = damage(newest)
        if problem is None:
            return newest
        instead = f"resuming from {remaining[-1].name}" if remaining else "starting over: there is no other"
        warn(f"{newest}: the checkpoint is damaged ({problem}); {instead}")
    return None


def damage(checkpoint: Path) -> str | None:
    """Describe what differs from what was written, or return None."""
    try:
        record = read_json(checkpoint / RECORD_FILE)
        step, files = record["step"], dict(record["files"])
    except FileNotFoundError:
        return f"{RECORD_FILE} is missing"
    except (OSError, ValueError, KeyError, TypeError):
        return f"{RECORD_FILE} is not valid"
    if step != steps_done(checkpoint):  # because a copied or renamed folder would resume at a wrong step
        return f"{RECORD_FILE} belongs to step {step}"
    # By the names that a checkpoint has to have: a record that lists fewer must not pass.
    for name in (WEIGHTS_FILE, STATE_FILE):
        path, fingerprint = checkpoint / name, files.get(name)
        if not path.is_file():
            return f"{name} is missing"
        # By hash too, because torch loads a file with a flipped bit without an error.
        if fingerprint != file_record(path):
            return f"{name} was changed"
    return None


def steps_done(checkpoint: Path) -> int:
    """Return the number of steps done at a checkpoint, by its name."""
    return int(checkpoint.name.removeprefix("step-"))


def remove(checkpoint: Path) -> None:
    """Remove a checkpoint.

    Its name first, because a kill must not leave half of it under that name.
    """
    target = checkpoint.with_name(f".{checkpoint.name}.gone")
    os.replace(checkpoint, target)  # one step, and with a leading dot it is no checkpoint any more
    shutil.rmtree(target)


def _write(content: Any, path: Path) -> None:
    """Save with torch, and raise the `OSError` of a failed write.

    Into a file opened here, because torch hides the reason behind an error of its own, and keeps it as that
    error's context only for a file that it did not open.
    """
    with path.open("wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None
