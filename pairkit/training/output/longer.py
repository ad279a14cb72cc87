"""A run that starts again with more or fewer steps than it had."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pairkit.errors import ExistingOutputError
from pairkit.progress import log
from pairkit.training.output.checkpoint import CHECKPOINTS, checkpoints, remove, steps_done
from pairkit.training.output.layout import MODEL, RECORD


def has_more_to_do(out: Path, steps: int) -> bool:
    """Return whether the run in `out` has steps left if it is to have `steps` of them.

    The model of a complete run that gets more steps is kept under another name, `model-NNNNNN` with the
    number of its steps: `model` is what only a complete run has.

    Raises:
        ExistingOutputError: it has already taken more.
    """
    model = out / MODEL
    complete = model.exists()
    record = json.loads((out / RECORD).read_text(encoding="utf-8"))
    before = record["plan"]["steps"]
    saved = checkpoints(out / CHECKPOINTS)
    last = steps_done(saved[-1]) if saved else 0
    done = before if complete else last
    if steps < done:
        raise ExistingOutputError(
            f"{out}: the run has already taken {done} steps, but the recipe ends after {steps}; raise "
            "max_steps or epochs, choose another --out, or use --on-existing delete"
        )
    # The last step of some epochs may have taken fewer sets than the same step of more epochs takes.
    if last == before < steps and record["recipe"].get("max_steps") is None:
        remove(saved.pop())
        last = steps_done(saved[-1]) if saved else 0
    if not complete:
        return True
    if steps == done:
        return False
    kept = out / f"{MODEL}-{done:06d}"
    os.replace(model, kept)
    start = f"from the checkpoint of step {last}" if last else "from the start, because it has no checkpoint"
    log(f"{out}: the run had {done} steps and gets {steps}: it continues {start}; its model is now {kept}")
    return True
