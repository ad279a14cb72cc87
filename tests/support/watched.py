"""Records of what the steps of a training run do."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from pairkit.training.logprobs.selection import micro_batches
from pairkit.training.step.batch import StepModel


@contextmanager
def watched() -> Iterator[list[dict[str, Any]]]:
    """Yield a list that gets an entry from every step of this process.

    sets: how many sets each of its micro-batches holds.
    state: the loss's running statistics after the step's gradient pass.
    gradient, weights: hashes of their bytes, as the optimizer sees them and as it leaves them; of a sharded
        model of this process's part.
    """
    steps: list[dict[str, Any]] = []

    def grouped(*arguments: Any, **options: Any) -> list[list[int]]:
        groups = micro_batches(*arguments, **options)
        steps.append({"sets": [len(group) for group in groups]})
        return groups

    def passed(self: StepModel, *arguments: Any, real: Any = StepModel.gradients) -> Any:
        result = real(self, *arguments)
        steps[-1]["state"] = self.loss.state_dict()
        return result

    def before(optimizer: Any, *_: Any) -> None:
        steps[-1]["gradient"] = _hash(p.grad for p in _parameters(optimizer) if p.grad is not None)

    def after(optimizer: Any, *_: Any) -> None:
        steps[-1]["weights"] = _hash(_parameters(optimizer))

    hooks = [register_optimizer_step_pre_hook(before), register_optimizer_step_post_hook(after)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pairkit.training.step.batch.micro_batches", grouped)  # that of the gradient pass alone
        patch.setattr(StepModel, "gradients", passed)
        try:
            yield steps
        finally:
            for hook in hooks:
                hook.remove()


def _parameters(optimizer: Any) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _hash(tensors: Iterable[Tensor]) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        here = tensor.to_local() if isinstance(tensor, DTensor) else tensor
        digest.update(here.detach().cpu().numpy().tobytes())
    return digest.hexdigest()
