"""A run that starts again with more or fewer steps than it had."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairkit.errors import ExistingOutputError
from pairkit.files import read_record, replacing, undamaged
from pairkit.progress import log
from pairkit.training.output.checkpoint import CHECKPOINTS, checkpoints, remove, steps_done
from pairkit.training.output.entries import read_entries
from pairkit.training.output.layout import (
    METRICS,
    MODEL,
    RECIPE,
    RECORD,
    RECORD_OF_EXPORT,
    REFUSED,
    TAKEN,
)
from pairkit.training.record.schemas import FOLDERS


@dataclass(frozen=True)
class Finished:
    """A complete run as it is before it gets more steps.

    Attributes:
        out: its directory.
        steps: that it has taken.
        saved: its checkpoints.
        files: content of the files that a start writes, by their path in `out`.
    """

    out: Path
    steps: int
    saved: frozenset[Path]
    files: dict[str, bytes]

    def put_back(self) -> None:
        """Undo a start that gave it more steps, unless that has got as far as a checkpoint of its own."""
        earlier_model = _kept(self.out, self.steps)
        # A checkpoint of its own is work that the next start continues, and that putting back would lose.
        if not earlier_model.exists() or set(checkpoints(self.out / CHECKPOINTS)) - self.saved:
            return
        # From memory, because the start has written over them.
        for name, content in self.files.items():
            with replacing(self.out / name) as temporary:
                temporary.write_bytes(content)
        # Last, because with a model the run is complete, and its record must have its steps by then.
        os.replace(earlier_model, self.out / MODEL)
        _kept_metrics(self.out, self.steps).unlink(missing_ok=True)
        log(f"{self.out}: is again the complete run that it was")


def is_complete(out: Path) -> bool:
    """Return whether the run in `out` has finished: a model, and a record that says that its steps are taken.

    Not by the model alone, which may have been copied or exported there. The record of an older version does
    not count the steps.
    """
    if not (out / MODEL).exists() or (out / MODEL / RECORD_OF_EXPORT).exists():
        return False
    record = read_run(out)
    return bool(record.get(TAKEN, record["plan"]["steps"]) == record["plan"]["steps"])


def read_run(out: Path) -> dict[str, Any]:
    """Read the record of the run in `out`. Raises `InputError`."""
    record = read_record(out / RECORD, "choose another --out, or use --on-existing delete")
    with undamaged(out / RECORD, "choose another --out, or use --on-existing delete"):
        if not isinstance(record["plan"]["steps"], int) or not isinstance(record["recipe"], dict):
            raise TypeError("it has no steps or no recipe")
    return record


def finished(out: Path) -> Finished | None:
    """Return the complete run in `out`; None if the run there has not finished."""
    if not is_complete(out):
        return None
    steps = read_run(out)["plan"]["steps"]
    # What a start writes over; the model is only renamed.
    paths = [out / name for name in (RECORD, RECIPE, REFUSED, METRICS)]
    paths += [path for folder in FOLDERS for path in sorted((out / folder).glob("step-*.parquet"))]
    files = {path.relative_to(out).as_posix(): path.read_bytes() for path in paths if path.exists()}
    return Finished(out, steps, frozenset(checkpoints(out / CHECKPOINTS)), files)


def holds_model(out: Path) -> bool:
    """Return whether a run's directory holds a finished model, of this length or of a shorter one."""
    return (out / MODEL).exists() or bool(shorter(out))


def shorter(out: Path) -> dict[int, Path]:
    """Return the models that the run in `out` had when it was complete with fewer steps, by their number."""
    # Six digits at least: the names are padded, and from a million steps on they have seven.
    paths = out.glob(f"{MODEL}-{'[0-9]' * 6}*")
    return {int(path.name.removeprefix(f"{MODEL}-")): path for path in sorted(paths) if path.is_dir()}


def shorter_evaluation(out: Path, steps: int) -> dict[str, Any] | None:
    """Return the last evaluation of the run in `out` when it was complete with `steps`; None without one."""
    entries = read_entries(_kept_metrics(out, steps))
    evaluations = [entry for entry in entries if entry["kind"] == "eval" and entry["step"] == steps]
    return evaluations[-1] if evaluations else None


def has_more_to_do(out: Path, steps: int) -> bool:
    """Return whether the run in `out` has steps left if it is to have `steps` of them.

    The model of a complete run that gets more steps is kept under another name, `model-NNNNNN` with the
    number of its steps: `model` is what only a complete run has. So are its metrics, `metrics-NNNNNN.jsonl`.

    Raises:
        ExistingOutputError: it has already taken more.
    """
    model = out / MODEL
    complete = is_complete(out)
    # Such as one that was exported there: the end of the run would replace it.
    if model.exists() and not complete:
        raise ExistingOutputError(
            f"{model}: is not the model of this run, which has not finished; move it elsewhere, and the same "
            "command continues the run, or use --on-existing delete"
        )
    record = read_run(out)
    before = record["plan"]["steps"]
    paths = checkpoints(out / CHECKPOINTS)
    last = steps_done(paths[-1]) if paths else 0
    # Of a run that has not finished, those of its last checkpoint: later ones will be taken again.
    step_count = before if complete else last
    if steps < step_count:
        raise ExistingOutputError(
            f"{out}: the run has already taken {step_count} steps, but the recipe ends after {steps}; raise "
            "max_steps or epochs, choose another --out, or use --on-existing delete"
        )
    # The last step of some epochs may have taken fewer sets than the same step of more epochs takes.
    if last == before < steps and record["recipe"].get("max_steps") is None:
        # Its checkpoint would hide the step that has to be taken again.
        remove(paths.pop())
        last = steps_done(paths[-1]) if paths else 0
    if not complete:
        return True
    if steps == step_count:
        return False
    earlier_model = _kept(out, step_count)
    # A copy, because the longer run takes some of these steps again, at other rates.
    if (out / METRICS).exists():
        shutil.copyfile(out / METRICS, _kept_metrics(out, step_count))
    # By a rename, because a kill in between leaves either a complete run or one that continues.
    os.replace(model, earlier_model)
    start = f"from the checkpoint of step {last}" if last else "from the start, because it has no checkpoint"
    log(
        f"{out}: the run had {step_count} steps and gets {steps}: it continues {start}; its model is now "
        f"{earlier_model}"
    )
    return True


def _kept(out: Path, steps: int) -> Path:
    """Name the model of a run after its steps, because `model` is what only a complete run has."""
    return out / f"{MODEL}-{steps:06d}"


def _kept_metrics(out: Path, steps: int) -> Path:
    path = out / METRICS
    return path.with_name(f"{path.stem}-{steps:06d}{path.suffix}")
