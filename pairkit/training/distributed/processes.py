"""The processes of a run: who takes which sets, and what they tell each other.

Every process knows the whole global batch and makes the gradients of its share of the sets. Where each holds
the whole model, the gradients are summed once a step: nothing depends on the number of micro-batches, which
may differ between processes, and one without a set in a small batch waits for the others. Where each holds a
part of it, see `sharding`.
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
        """Whether it is the one that writes."""
        return self.rank == 0

    def share(self, sizes: Sequence[int]) -> list[int]:
        """Which items are this process's: the largest first, each goes to that with the least to do."""
        loads = [(0, rank) for rank in range(self.size)]
        mine = []
        for item in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
            load, rank = heappop(loads)
            heappush(loads, (load + sizes[item], rank))
            if rank == self.rank:
                mine.append(item)
        return sorted(mine)

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replaces each tensor by its sum over the processes."""
        if self.size == 1:
            return
        waiting = []
        for tensor in tensors:
            there = tensor.to(self.device)
            waiting.append((tensor, there, dist.all_reduce(there, async_op=True)))
        for tensor, there, work in waiting:
            work.wait()
            if there is not tensor:
                tensor.copy_(there)

    def add_gradients(self, model: nn.Module) -> None:
        """Sums the gradients; a parameter without one on every process keeps none, as in one process."""
        if self.size == 1:
            return
        trained = [p for p in model.parameters() if p.requires_grad]
        held = torch.tensor([float(p.grad is not None) for p in trained])
        self.add([held])
        for parameter, processes in zip(trained, held.tolist(), strict=True):
            if processes and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.add([p.grad for p in trained if p.grad is not None])

    def any(self, flag: bool) -> bool:
        """Whether any process says so."""
        said = torch.tensor([float(flag)])
        self.add([said])
        return bool(said.item())

    def collect(self, value: Any) -> list[Any]:
        """The value of every process, in the order of their ranks, on each of them."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found

    def of_main(self, make: Callable[[], T]) -> T:
        """What the first process makes, on all of them."""
        if self.size == 1:
            return make()
        made = [make() if self.main else None]
        dist.broadcast_object_list(made, src=0)
        return made[0]  # type: ignore[return-value]

    def wait(self) -> None:
        """Until all have come here."""
        if self.size > 1:
            dist.barrier()


ALONE = Processes()


def device_name(processes: Processes) -> str:
    """What this process computes on: a GPU's name, or the processor's."""
    if processes.device.type == "cuda":
        return torch.cuda.get_device_name(processes.device)
    return f"{processes.device.type}: {platform.processor() or platform.machine()}"


@lru_cache(maxsize=1)
def current_processes() -> Processes:
    """This process among those that torchrun or `accelerate launch` started; alone without them.

    accelerate's `PartialState` makes the process group, and nothing else of what a launcher's environment
    may say (precision, accumulation) is taken from it: the recipe says that.
    """
    from accelerate import PartialState

    state = PartialState(cpu=not torch.cuda.is_available())
    return Processes(state.process_index, state.num_processes, state.device)
