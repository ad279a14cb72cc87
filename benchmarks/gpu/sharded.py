"""Check: weights that two processes hold in parts (FSDP2) give the gradient that one process computes.

float32: a step's gradients of DPO and of MC-PO differ by at most 1e-4 of their norm. With `--device cpu` the
processes talk through gloo; on a GPU there has to be one for each.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from gpu.jobs import FAILED, OK, Job, Result, result
from gpu.shapes import SHAPES, make_model, make_sets
from pairkit.losses import build
from pairkit.losses.building import sampler_settings
from pairkit.training.distributed.processes import ALONE, Processes, current_processes
from pairkit.training.distributed.sharding import gather_tensors, shard
from pairkit.training.step.averages import Averages
from pairkit.training.step.batch import StepModel
from pairkit.training.step.examples import Split
from pairkit.training.step.order import draw_seeds
from pairkit.training.step.prepare import prepare

PROCESSES = 2
ITEMS = ("dpo", "mcpo")
LIMIT = 1e-4  # of the gradient's norm


def check(job: Job, name: str) -> Iterator[Result]:
    """Compare the gradients of one loss."""
    here = current_processes()
    processes = Processes(here.rank, here.size, here.device, sharded=True)
    shape = SHAPES["tiny"]
    model = make_model(shape, here.device, torch.float32)
    alone = _gradients(model, name, ALONE)
    model.zero_grad()
    parts = _gradients(shard(model, processes, bf16=False), name, processes)
    squares = sum(float((parts[key] - value).square().sum()) for key, value in alone.items())
    norm = sum(float(value.square().sum()) for value in alone.values())
    off = (squares / norm) ** 0.5
    status = OK if off <= LIMIT and parts.keys() == alone.keys() else FAILED
    reason = (
        "" if status == OK else f"{name}: the gradient is off by {off:.1e} of its norm, limit {LIMIT:.0e}"
    )
    yield result(job, name, status, reason, gradient=off, processes=here.size)


def _gradients(model: nn.Module, name: str, processes: Processes) -> dict[str, torch.Tensor]:
    """Return the whole gradient of a step, on the CPU."""
    loss, shape = build(name), SHAPES["tiny"]
    sets = make_sets(shape, 1)
    split = Split(sets, [np.array([-9.0 * len(c.ids) for c in s.columns], np.float32) for s in sets])
    through = StepModel(loss, model, None, shape.budget, processes)
    settings = sampler_settings(loss, {}, "random")
    batch = prepare(through, settings, split, range(len(sets)), draw_seeds(sets, 0, 0))
    through.gradients(batch, Averages())
    gradients = {key: p.grad for key, p in model.named_parameters() if p.grad is not None}
    return {key: value.cpu() for key, value in gather_tensors(gradients, keep=True).items()}
