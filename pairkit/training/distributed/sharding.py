"""Weights that several processes hold in parts: torch's `fully_shard` (FSDP2, Zhao et al. 2023).

A layer is whole on a process only while it passes; embeddings, last norm and output head are whole for as
long as a micro-batch passes, because log-probs are made from the head's weight after the model's own forward.
Gathering and reducing are collective, so all processes have to make the same number of passes: one that has
fewer micro-batches than another makes `idle` ones.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from pairkit.errors import ModelError, RecipeError
from pairkit.training.distributed.processes import Processes


def launched_sharded() -> bool:
    """Whether `accelerate launch` was told to shard.

    Raises `RecipeError` where it was told what is not done here, rather than train in another way.
    """
    if not _says("ACCELERATE_USE_FSDP"):
        return False
    if _says("FSDP_OFFLOAD_PARAMS"):
        raise RecipeError(
            "fsdp_offload_params in the launch file: weights stay on the GPUs here, set it to false"
        )
    # transformers would load weights in the first process of a node only, for accelerate to send around.
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
    return True


def _says(name: str) -> bool:
    return os.environ.get(name, "").lower() in ("1", "true", "yes")


def shard(model: nn.Module, processes: Processes, *, bf16: bool) -> nn.Module:
    """Leaves each process its part of every parameter, on its device; the model is changed in place.

    Args:
        bf16: whether layers are gathered in bfloat16; gradients are summed in float32 all the same.

    Raises:
        ModelError: a model without a list of layers.
    """
    mesh = init_device_mesh(processes.device.type, (processes.size,))
    precision = MixedPrecisionPolicy()
    if bf16:  # what layers are called with is not cast: that would copy a `Packed`, which layers write to
        precision = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
    for layer in layers(model):
        fully_shard(layer, mesh=mesh, mp_policy=precision)
    whole = fully_shard(model, mesh=mesh, mp_policy=precision)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)  # a batch's gradient is a sum over its sets
            module.set_force_sum_reduction_for_comms(True)  # gloo has no other
    return cast("nn.Module", whole)


def sharded(*models: nn.Module | None) -> bool:
    """Whether one of these models is."""
    return any(isinstance(part, FSDPModule) for model in models if model for part in model.modules())


def reshard(*models: nn.Module | None) -> None:
    """Leaves this process its part again, after passes without gradient: backward does so by itself.

    Until then `parameters` gives what is whole, which no step changes.
    """
    for model in models:
        for module in model.modules() if model else ():
            if isinstance(module, FSDPModule):
                module.reshard()


def passes(count: int, *models: nn.Module | None) -> int:
    """How many passes this process makes, given that it has work for `count`: as many as any other."""
    if not sharded(*models):
        return count
    device = next(p for model in models if model for p in model.parameters()).device
    most = torch.tensor(count, device=device)
    dist.all_reduce(most, dist.ReduceOp.MAX)
    return int(most)


def whole(values: Any, *, keep: bool) -> Any:
    """The values of a nested dict, each tensor with the parts of all processes, on the CPU; collective.

    Args:
        keep: whether this process wants them: it gets None for what was in parts, if not.
    """
    if isinstance(values, Mapping):
        return {name: whole(value, keep=keep) for name, value in values.items()}
    if isinstance(values, DTensor):
        full = values.full_tensor()
        return full.cpu() if keep else None
    return values


def like(value: Tensor, parameter: Tensor) -> Tensor:
    """This process's part of a whole tensor, as the parameter is parted."""
    if not isinstance(parameter, DTensor) or value.shape != parameter.shape:
        return value
    there = value.to(parameter.device)
    return distribute_tensor(there, parameter.device_mesh, parameter.placements, src_data_rank=None)


def layers(model: nn.Module) -> list[nn.Module]:
    """The list of modules with the most parameters.

    Raises:
        ModelError: a model without one.
    """
    lists = [list(module) for module in model.modules() if isinstance(module, nn.ModuleList)]
    if not lists:
        raise ModelError(f"{type(model).__name__} has no list of layers: train it without shard and compile")
    return max(lists, key=lambda layers: sum(p.numel() for layer in layers for p in layer.parameters()))
