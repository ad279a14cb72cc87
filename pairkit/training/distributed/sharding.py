"""Weights that several processes hold in parts: torch's `fully_shard` (FSDP2, Zhao et al. 2023).

A layer is whole on a process only while it runs; embeddings, last norm and output head are whole as long as a
micro-batch takes, because log-probs are computed from the head's weight after the model's own forward.

Gathering a layer and reducing its gradient are collective calls within each forward and backward, so all
processes must make the same number of passes. Each has its own sets, and sets are of different lengths, so
one process may need fewer micro-batches than another: it makes idle passes, whose result is dropped or
multiplied by 0, until all are done (`collective_pass_count`).
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
    """Return whether `accelerate launch` was configured to shard.

    Raises `RecipeError` for a setting that pairkit does not support, rather than train in another way.
    """
    if not _is_set("ACCELERATE_USE_FSDP"):
        return False
    if _is_set("FSDP_OFFLOAD_PARAMS"):
        raise RecipeError(
            "the launch file sets fsdp_offload_params: true, but pairkit keeps weights on the GPUs; "
            "set it to false"
        )
    # With this on, transformers would load weights only in the first process of a node, for accelerate to
    # send around; here every process loads the weights and keeps its part.
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
    return True


def _is_set(name: str) -> bool:
    """Return whether an environment variable is on, in the spellings that accelerate accepts."""
    return os.environ.get(name, "").lower() in ("1", "true", "yes")


def shard(model: nn.Module, processes: Processes, *, bf16: bool) -> nn.Module:
    """Leave each process its part of every parameter, on its device; the model is changed in place.

    Args:
        bf16: whether layers are gathered in bfloat16. Gradients are summed in float32 all the same, because
            small contributions of one process would be lost next to large ones of another.

    Raises:
        ModelError: a model without a list of layers.
    """
    # One dimension: every process has 1/size of every parameter, and no two have the same part.
    mesh = init_device_mesh(processes.device.type, (processes.size,))
    precision = MixedPrecisionPolicy()  # no casts: layers are gathered as they are stored
    if bf16:  # inputs of a layer are not cast: that would copy a `Packed`, whose cache the layers write to
        precision = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
    # Layers first, each a unit of its own that is gathered before it runs and freed after it; with the model
    # as the only unit, all weights would be whole on every process at once.
    for layer in layers(model):
        fully_shard(layer, mesh=mesh, mp_policy=precision)
    sharded_model = fully_shard(model, mesh=mesh, mp_policy=precision)  # what is outside of the layers
    for module in model.modules():
        if isinstance(module, FSDPModule):
            # FSDP averages over processes by default. Here each set's term already has its weight in the
            # global batch, so the batch's gradient is a sum; an average would depend on their number.
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)  # gloo has no other reduction
    return cast("nn.Module", sharded_model)


def sharded(*models: nn.Module | None) -> bool:
    """Return whether one of these models is sharded."""
    return any(isinstance(part, FSDPModule) for model in models if model for part in model.modules())


def reshard(*models: nn.Module | None) -> None:
    """Leave this process only its part again, after passes without gradient: backward does so by itself.

    Until then `parameters` would return the gathered copies, which no optimizer step changes.
    """
    for model in models:
        for module in model.modules() if model else ():
            if isinstance(module, FSDPModule):
                module.reshard()


def collective_pass_count(count: int, *models: nn.Module | None) -> int:
    """Return how many passes every process has to make: the largest `count` of any of them.

    Without sharding a pass needs no other process, so each makes as many as it has work for.
    """
    if not sharded(*models):
        return count
    device = next(p for model in models if model for p in model.parameters()).device
    # The maximum and not the sum: passes of all processes run side by side.
    most = torch.tensor(count, device=device)  # on the model's device: NCCL reduces on GPUs only
    dist.all_reduce(most, dist.ReduceOp.MAX)
    return int(most)


def gather_tensors(values: Any, *, keep: bool) -> Any:
    """Gather every sharded tensor of a nested dict onto the CPU; collective.

    Args:
        keep: whether this process needs the tensors. Otherwise it takes part in the calls and returns None
            for
            each, so that a model is not in memory as often as there are processes.
    """
    # Every tensor is a collective call, and all processes have the keys in the same order.
    if isinstance(values, Mapping):
        return {name: gather_tensors(value, keep=keep) for name, value in values.items()}
    if isinstance(values, DTensor):
        full = values.full_tensor()  # before `keep` is asked: all processes have to take part
        # Onto the CPU one by one, because a GPU that holds a part of each may not hold all of them whole.
        return full.cpu() if keep else None
    return values


def shard_like(value: Tensor, parameter: Tensor) -> Tensor:
    """Return this process's part of a full tensor, divided as the parameter is.

    Optimizer states of another shape than their parameter (step counts, `[]`) are on every process as they
    are.
    """
    if not isinstance(parameter, DTensor) or value.shape != parameter.shape:
        return value
    on_device = value.to(parameter.device)  # whole for a moment, one tensor at a time
    # No source rank: every process has read the whole tensor and cuts out its own part.
    return distribute_tensor(on_device, parameter.device_mesh, parameter.placements, src_data_rank=None)


def layers(model: nn.Module) -> list[nn.Module]:
    """Return the model's layers: the list of modules with the most parameters, whatever wraps it.

    Raises:
        ModelError: a model without one.
    """
    lists = [list(module) for module in model.modules() if isinstance(module, nn.ModuleList)]
    if not lists:
        raise ModelError(
            f"{type(model).__name__} has no list of layers; train it with shard=false and compile=false"
        )
    # By parameters, because the experts of a layer and a vision tower are lists of modules as well.
    return max(lists, key=lambda layers: sum(p.numel() for layer in layers for p in layer.parameters()))
