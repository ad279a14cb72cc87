"""`models/epoch-N/`: the model after each epoch of a run, as `model/` is after all of them."""

from __future__ import annotations

import shutil
from pathlib import Path

from torch import nn

from pairkit.training.distributed.processes import Processes
from pairkit.training.models import snapshot
from pairkit.training.output.save import save_model
from pairkit.training.plan import Plan

MODELS = "models"


def save_epoch_model(plan: Plan, out: Path, processes: Processes, model: nn.Module, epoch: int) -> None:
    """Save the model after an epoch, numbered from 1; collective.

    What an earlier start of the run has saved of this epoch is replaced: on a CPU by the same bytes, unless
    the run got longer since.

    Raises `OutputError`.
    """
    network = snapshot(model, plan, processes)
    if processes.main:
        target = out / MODELS / f"epoch-{epoch}"
        shutil.rmtree(target, ignore_errors=True)
        save_model(
            network,
            plan.tokenizer,
            target,
            plan.recipe,
            check=lambda: plan.unwritten.check_content(plan.content),
        )
    processes.wait()
