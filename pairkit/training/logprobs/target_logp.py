"""Log-probs of target tokens from hidden states, a slice of the vocabulary at a time.

A slice's logits stay in the processor's cache, and the gradient of the head's weight is written once, slice
by slice; chunks of tokens would read and write all of it for each chunk. Backward makes a slice's logits
again, but where all of them are so few (`KEPT_LOGITS`) that they are kept as probabilities.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

SLICE_LOGITS = {"cpu": 2**20, "cuda": 2**26}  # 4 MiB of float32, and what keeps a GPU's products large
KEPT_LOGITS = 2**24  # 64 MiB of float32


def target_logp(
    states: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    *,
    scale: float = 1.0,
    softcap: float | None = None,
) -> Tensor:
    """log softmax(softcap(scale * (states @ weight.T + bias)))[targets], [tokens] float32, nats.

    Args:
        states: [tokens, hidden], of the weight's dtype.
        weight: [vocabulary, hidden].
        targets: int64 [tokens].
        softcap: c of c tanh(x / c).
    """
    final = scale, softcap
    found: Tensor = _TargetLogp.apply(states, weight, bias, targets, final, torch.is_grad_enabled())  # type: ignore
    return found


class _TargetLogp(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        final: tuple[float, float | None],
        gradient: bool,
    ) -> Tensor:
        ctx.final = final
        if gradient and final[1] is None and len(targets) * len(weight) <= KEPT_LOGITS:
            logits = _logits(states, weight, bias, final)
            lse = logits.logsumexp(dim=1)
            found = logits.gather(1, targets[:, None])[:, 0] - lse
            ctx.save_for_backward(states, weight, bias, targets, None, logits.sub_(lse[:, None]).exp_())
            return found
        largest = torch.full(targets.shape, -torch.inf, device=states.device)
        total = torch.zeros_like(largest)
        target = torch.zeros_like(largest)
        for at in _slices(states, weight):
            logits = _logits(states, weight[at], None if bias is None else bias[at], final)
            inside, column = _inside(targets, at)
            target += torch.where(inside, logits.gather(1, column[:, None])[:, 0], 0)
            larger = torch.maximum(largest, logits.amax(dim=1))
            total.mul_((largest - larger).exp_()).add_(logits.sub_(larger[:, None]).exp_().sum(dim=1))
            largest = larger
        lse = largest + total.log()
        ctx.save_for_backward(states, weight, bias, targets, lse, None)
        return target - lse

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        states, weight, bias, _, _, kept = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        for_states = torch.zeros(states.shape, device=states.device) if wanted[0] else None
        for_weight = torch.empty_like(weight) if wanted[1] else None
        for_bias = torch.empty_like(bias) if wanted[2] else None
        for at in _slices(states, weight) if kept is None else [slice(0, len(weight))]:
            back = _of_slice(ctx, at, gradient)
            if for_bias is not None:
                for_bias[at] = back.sum(dim=0)
            back = back.to(weight.dtype)
            if for_states is not None:
                for_states += product(back, weight[at])
            if for_weight is not None:
                for_weight[at] = product(back.t(), states)
        if for_states is not None:
            for_states = for_states.to(states.dtype)
        return for_states, for_weight, for_bias, None, None, None


def _of_slice(ctx: Any, at: slice, gradient: Tensor) -> Tensor:
    """[tokens, slice], the gradient of the products of states and weight."""
    states, weight, bias, targets, lse, kept = ctx.saved_tensors
    scale, softcap = ctx.final
    slope = None
    if kept is None:
        logits = _logits(states, weight[at], None if bias is None else bias[at], ctx.final)
        if softcap is not None:
            slope = 1 - (logits / softcap).square()
        back = logits.sub_(lse[:, None]).exp_().mul_(-gradient[:, None])
    else:
        back = kept * -gradient[:, None]
    inside, column = _inside(targets, at)
    back.scatter_add_(1, column[:, None], torch.where(inside, gradient, 0)[:, None])
    if slope is not None:
        back *= slope
    return back if scale == 1 else back.mul_(scale)


def _logits(states: Tensor, weight: Tensor, bias: Tensor | None, final: tuple[float, float | None]) -> Tensor:
    scale, softcap = final
    logits = linear(states, weight, bias) if weight.dtype == torch.float32 else product(states, weight.t())
    if bias is not None and weight.dtype != torch.float32:
        logits += bias
    if scale != 1:
        logits *= scale
    return logits if softcap is None else logits.div_(softcap).tanh_().mul_(softcap)


def _slices(states: Tensor, weight: Tensor) -> Iterator[slice]:
    step = max(1, SLICE_LOGITS[states.device.type] // max(1, len(states)))
    return (slice(start, min(start + step, len(weight))) for start in range(0, len(weight), step))


def _inside(targets: Tensor, at: slice) -> tuple[Tensor, Tensor]:
    """[tokens] each: whether a token's target is in a slice, and its column there, any if it is not."""
    inside = (targets >= at.start) & (targets < at.stop)
    return inside, (targets - at.start).clamp(0, at.stop - at.start - 1)


def product(left: Tensor, right: Tensor) -> Tensor:
    """float32 whatever the factors' dtype; a GPU sums in float32 by itself."""
    if left.dtype == torch.float32:
        return left @ right
    if left.is_cuda and left.dtype in (torch.bfloat16, torch.float16):
        return torch.mm(left, right, out_dtype=torch.float32)
    return left.float() @ right.float()
