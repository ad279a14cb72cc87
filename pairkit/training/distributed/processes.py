"""The processes of a run: which sets each takes, and what they exchange.

Every process knows the whole global batch and computes the gradients of its share of the sets. A batch's
gradient is a sum over its sets, so where each process holds the whole model, one sum per step over the
processes gives the gradient that one process would have computed. Nothing depends on the number of
micro-batches, which may differ between processes; one without a set in a small batch waits for the others.
Where each holds a part of the model, see `sharding`.

Calls between processes are collective: all processes make the same calls in the same order, or all wait
forever. Whatever decides whether a call is made must therefore be the same everywhere, or be agreed on first
(`any`).
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from heapq import heappop, heappush
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

CPU = torch.device("cpu")
T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """This process among those of the run."""

    rank: int = 0
    size: int = 1
    device: torch.device = CPU
    sharded: bool = False  # whether each holds a part of the weights

    @property
    def main(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0

    def share(self, sizes: Sequence[int]) -> list[int]:
        """Return this process's items, in order; the largest goes first, to the least loaded process.

        Every process computes the same division from the same sizes, so that nothing has to be sent.

        Args:
            sizes: the work per item, in tokens.
        """
        loads = [(0, rank) for rank in range(self.size)]  # a heap of (tokens, rank)
        mine = []
        # A stable sort: items of one size stay in their order, on every process.
        for item in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
            load, rank = heappop(loads)  # ties go to the lowest rank, on every process
            heappush(loads, (load + sizes[item], rank))
            if rank == self.rank:
                mine.append(item)
        return sorted(mine)  # in the order of the batch, because the order of a sum decides its last bits

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over the processes, which have tensors of the same shapes."""
        if self.size == 1:
            return
        pending = []
        for tensor in tensors:  # all start before the first is awaited, so that their transfers overlap
            on_device = tensor.to(self.device)  # NCCL reduces tensors on the GPU only
            pending.append((tensor, on_device, dist.all_reduce(on_device, async_op=True)))
        for tensor, on_device, work in pending:
            work.wait()
            if on_device is not tensor:
                tensor.copy_(on_device)  # in place, because the optimizer holds this tensor

    def add_gradients(self, model: nn.Module) -> None:
        """Sum the gradients over the processes.

        A process that did not use a parameter (an expert that no token was routed to) takes part with zeros.
        A parameter that no process used keeps no gradient, as in a run of one process: with zeros the
        optimizer would decay its weights and its moments.
        """
        if self.size == 1:
            return
        # All processes have the same parameters in the same order, so gradients meet without names.
        parameters = [p for p in model.parameters() if p.requires_grad]
        # [parameters], on how many processes each has a gradient: the calls that follow depend on it, so it
        # has to be agreed on first.
        holders = torch.tensor([float(p.grad is not None) for p in parameters])
        self.add([holders])
        for parameter, count in zip(parameters, holders.tolist(), strict=True):
            if count and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.add([p.grad for p in parameters if p.grad is not None])

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set on any process; all get the same answer."""
        flags = torch.tensor([float(flag)])  # a sum above 0 is a flag set anywhere
        self.add([flags])
        return bool(flags.item())

    def collect(self, value: Any) -> list[Any]:
        """Return the value of every process, in the order of their ranks, on each of them."""
        if self.size == 1:
            return [value]
        # By pickle, for small values; tensors of a model go through `add`.
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def broadcast_from_main(self, make: Callable[[], T]) -> T:
        """Call `make` on the main process only, and return its result on all of them."""
        if self.size == 1:
            return make()
        # Where `make` raises, the others wait in the next line until the launcher ends them.
        holder = [make() if self.main else None]
        dist.broadcast_object_list(holder, src=0)
        return holder[0]  # type: ignore[return-value]

    def wait(self) -> None:
        """Wait until all processes have made this call."""
        if self.size > 1:
            dist.barrier()


ALONE = Processes()


def device_name(processes: Processes) -> str:
    """Return what this process computes on: a GPU's name, or the processor's."""
    if processes.device.type == "cuda":
        return torch.cuda.get_device_name(processes.device)
    # `processor` is empty on many Linux systems.
    return f"{processes.device.type}: {platform.processor() or platform.machine()}"


# Once per process, because a process group can be made only once.
@lru_cache(maxsize=1)
def current_processes() -> Processes:
    """Return this process's rank and world; a world of one without a launcher.

    accelerate's `PartialState` makes the process group of torchrun or `accelerate launch`. Nothing else of a
    launcher's environment (precision, accumulation) is read, because the recipe decides that.
    """
    from accelerate import PartialState

    # With cpu=True the processes talk through gloo, because NCCL needs GPUs.
    state = PartialState(cpu=not torch.cuda.is_available())
    return Processes(state.process_index, state.num_processes, state.device)
