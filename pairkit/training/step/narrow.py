"""Steps on weights in bfloat16: float32 copies, stochastic rounding, and how much plain rounding loses.

bfloat16 has 8 bits of precision: a number changes only by steps of 1/128 to 1/256 of itself. An update of
less than half of that is rounded away, in every step again. Either the sum of the updates is kept in float32
(`master`), or each update is rounded up or down with the probability that makes it right in the mean
(stochastic rounding; Gupta et al. 2015, arXiv 1502.02551).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pairkit.training.step.optimizer import Optimizer, StepOptimizer, optimizers, partition

SAMPLE = 4096  # weights per tensor that are looked at
MOST_UNMOVED = 0.5  # above which a run is warned of


def make_optimizer(settings: Optimizer, model: nn.Module) -> StepOptimizer:
    """Make the optimizer of the trained weights of `model`."""
    parts = partition(settings, model)
    if not settings.master and settings.rounding == "nearest":
        return StepOptimizer(optimizers(settings, *parts))
    copies = [[_stand_in(weight) for weight in part] for part in parts]
    pairs = {
        id(copy): weight
        for part, weights in zip(copies, parts, strict=True)
        for copy, weight in zip(part, weights, strict=True)
    }
    return NarrowOptimizer(optimizers(settings, *copies), pairs, master=settings.master is not None)


class NarrowOptimizer(StepOptimizer):
    """An optimizer whose arithmetic and states are float32 and whose weights are bfloat16.

    One weight tensor at a time is updated in float32, so that no more is in memory; with `master` all copies
    stay there. Weights that are not bfloat16 (adapters) are updated directly.
    """

    loses_small_updates = False

    def __init__(
        self, parts: Sequence[torch.optim.Optimizer], pairs: Mapping[int, Tensor], *, master: bool
    ) -> None:
        super().__init__(parts)
        self._pairs = pairs  # of a copy's id, the weight
        self._master = master
        for _, copy in self._masters():
            copy.data = self._pairs[id(copy)].detach().float()

    @property
    def weights(self) -> list[Tensor]:
        """The model's weights, in the order in which the state dict numbers them."""
        return [self._pairs[id(copy)] for copy in super().weights]

    @torch.no_grad()
    def step(self, rate: float, seed: int) -> None:
        """Update the weights that have a gradient; `seed` determines how they are rounded."""
        self.set_rate(rate)
        random: dict[torch.device, torch.Generator] = {}
        for part in self._parts:
            groups = part.param_groups
            for group in groups:
                for copy in group["params"]:
                    weight = self._pairs[id(copy)]
                    if weight.grad is None:
                        continue
                    if weight.device not in random:
                        random[weight.device] = torch.Generator(weight.device).manual_seed(seed)
                    # The optimizer sees this tensor alone, and keeps its state by the tensor itself.
                    part.param_groups = [{**group, "params": [copy]}]
                    self._update(part, copy, weight, random[weight.device])
            part.param_groups = groups

    def _update(
        self, part: torch.optim.Optimizer, copy: Tensor, weight: Tensor, random: torch.Generator
    ) -> None:
        narrow = weight.dtype == torch.bfloat16
        if not (self._master and narrow):
            copy.data = weight.detach().float()
        assert weight.grad is not None
        copy.grad = weight.grad.float()
        part.step()
        weight.copy_(copy if self._master or not narrow else stochastically_rounded(copy, random))
        copy.grad = None
        if not (self._master and narrow):
            copy.data = _hollow(weight)

    def state_dict(self) -> dict[str, Any]:
        """Return the states, and with `master` the copies."""
        content = super().state_dict()
        for number, copy in self._masters():
            content["state"].setdefault(number, {})["master"] = copy.detach()
        return content

    def load_state_dict(self, content: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        state = dict(content["state"])
        for number, copy in self._masters():
            state[number] = dict(state[number])
            copy.data = state[number].pop("master").to(copy.device)
            if not state[number]:  # never updated
                del state[number]
        super().load_state_dict({**content, "state": state})

    def _masters(self) -> Iterator[tuple[int, Tensor]]:
        """Yield the float32 copies that stay, with their numbers."""
        for number, copy in enumerate(super().weights if self._master else ()):
            if self._pairs[id(copy)].dtype == torch.bfloat16:
                yield number, copy


def stochastically_rounded(values: Tensor, random: torch.Generator) -> Tensor:
    """Round float32 to bfloat16, up or down with the probability that keeps the mean.

    bfloat16 is the upper half of a float32. A random number below 2^16 is added to the lower half: it carries
    into the upper one as often as the lower half is large.
    """
    bits = values.contiguous().view(torch.int32)
    noise = torch.randint(0, 1 << 16, bits.shape, generator=random, device=bits.device, dtype=torch.int32)
    result = (bits + noise) & -65536  # the lower 16 bits are 0
    return result.view(torch.float32).to(torch.bfloat16)


class Unmoved:
    """A sample of the weights in bfloat16 before a step, to see how many of them it changes."""

    def __init__(self, weights: Sequence[Tensor]) -> None:
        # Those with a gradient: what a batch does not touch is not lost.
        self._weights = [w for w in weights if w.dtype == torch.bfloat16 and w.grad is not None]
        self._before = [_sample(weight).clone() for weight in self._weights]
        self._asked = [_sample(weight.grad) != 0 for weight in self._weights if weight.grad is not None]

    def share(self) -> float | None:
        """Return the share of weights with a gradient that are what they were; None without any."""
        count = total = 0.0
        for weight, before, mask in zip(self._weights, self._before, self._asked, strict=True):
            scale = weight.numel() / before.numel()  # a sampled weight is as many as it stands for
            count += scale * float(((_sample(weight) == before) & mask).sum())
            total += scale * float(mask.sum())
        return count / total if total else None


def unmoved_warning(share: float, rate: float, step: int) -> str | None:
    """Describe a step that left most weights what they were; None for any other."""
    if share <= MOST_UNMOVED:
        return None
    return (
        f"step {step}: the weights are bfloat16, and {share:.0%} of those with a gradient did not change at "
        f"the full learning rate {rate:g}: updates below half the distance to the next bfloat16 number are "
        "lost. Set optimizer.rounding=stochastic or optimizer.master=float32, or train float32 weights with "
        "--bf16 and dtype=float32"
    )


def _sample(tensor: Tensor) -> Tensor:
    """Return at least `SAMPLE` evenly spaced numbers of a tensor, `[numbers]`; all of a smaller one."""
    local: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor  # of a sharded one, its part
    flat = local.detach().reshape(-1)
    return flat[:: max(1, flat.numel() // SAMPLE)]


def _stand_in(weight: Tensor) -> Tensor:
    return nn.Parameter(_hollow(weight))


def _hollow(weight: Tensor) -> Tensor:
    """Make a float32 tensor of the weight's shape that holds one number."""
    return torch.zeros(1, device=weight.device).expand(weight.shape)
