"""Log-probs of target tokens from hidden states, one slice of the vocabulary at a time.

A slice's logits stay in the processor's cache, and the gradient of the head's weight is written once, slice
by slice; chunks of tokens would read and write all of it for each chunk. Backward computes a slice's logits
again, unless there are so few in all (`KEPT_LOGITS`) that they are kept as probabilities.

Logits and their sums are float32 whatever the weight's dtype (see `head`).

Shapes: T completion tokens, E hidden width, V vocabulary, v tokens of a slice of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

SLICE_LOGITS = {"cpu": 2**20, "cuda": 2**26}  # 4 MiB of float32 fit a cache; a GPU needs large products
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
    """Compute log softmax(softcap(scale * (states @ weight.T + bias)))[targets], float32 `[T]`, nats.

    Args:
        states: `[T, E]`, of the weight's dtype.
        weight: `[V, E]`.
        bias: `[V]` or None.
        targets: int64 `[T]`.
        softcap: c of c tanh(x / c).
    """
    final = scale, softcap
    # Whether a gradient will be asked for: inside `forward` autograd is always off, so it has to be told.
    gradient = torch.is_grad_enabled()
    logp: Tensor = _TargetLogp.apply(states, weight, bias, targets, final, gradient)  # type: ignore
    return logp


class _TargetLogp(torch.autograd.Function):
    """Forward sums exp(logits) slice by slice; backward writes (one-hot - softmax) slice by slice."""

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
        # A softcap's slope needs the logits themselves in backward, which probabilities do not give back.
        if gradient and final[1] is None and len(targets) * len(weight) <= KEPT_LOGITS:
            logits = _logits(states, weight, bias, final)  # [T, V]
            lse = logits.logsumexp(dim=1)  # [T]
            logp = logits.gather(1, targets[:, None])[:, 0] - lse
            ctx.save_for_backward(states, weight, bias, targets, None, logits.sub_(lse[:, None]).exp_())
            return logp
        # The log of the sum of exponentials, online (Milakov and Gimelshein 2018): the sum is relative to the
        # largest logit so far, because exp of a logit of 100 is no float32, and is scaled down when a larger
        # one comes. Slices come in the order of the vocabulary, so that all runs round alike.
        largest = torch.full(targets.shape, -torch.inf, device=states.device)  # [T]
        total = torch.zeros_like(largest)  # [T]
        target = torch.zeros_like(largest)  # [T], the target's logit: one slice holds it, the others add 0
        for at in _slices(states, weight):
            logits = _logits(states, weight[at], None if bias is None else bias[at], final)  # [T, v]
            inside, index = _inside(targets, at)
            target += torch.where(inside, logits.gather(1, index[:, None])[:, 0], 0)
            larger = torch.maximum(largest, logits.amax(dim=1))
            total.mul_((largest - larger).exp_()).add_(logits.sub_(larger[:, None]).exp_().sum(dim=1))
            largest = larger
        lse = largest + total.log()
        ctx.save_for_backward(states, weight, bias, targets, lse, None)
        return target - lse

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        states, weight, bias, _, _, probabilities = ctx.saved_tensors
        # A frozen head (adapters) gets no buffer, which would be as large as the head.
        needs_gradient = ctx.needs_input_grad
        # The states' gradient is a sum over all slices, so it is float32 until the end. A row of the weight's
        # gradient belongs to one slice and is written once, so it has the weight's dtype from the start.
        for_states = torch.zeros(states.shape, device=states.device) if needs_gradient[0] else None
        for_weight = torch.empty_like(weight) if needs_gradient[1] else None
        for_bias = torch.empty_like(bias) if needs_gradient[2] else None
        for at in _slices(states, weight) if probabilities is None else [slice(0, len(weight))]:
            back = _slice_gradient(ctx, at, gradient)  # [T, v]
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


def _slice_gradient(ctx: Any, at: slice, gradient: Tensor) -> Tensor:
    """Return the gradient of the products of states and a slice of the weight, `[T, v]`.

    d logp / d logits = one-hot(target) - softmax(logits); then through softcap and scale.
    """
    states, weight, bias, targets, lse, probabilities = ctx.saved_tensors
    scale, softcap = ctx.final
    slope = None
    if probabilities is None:
        logits = _logits(states, weight[at], None if bias is None else bias[at], ctx.final)
        if softcap is not None:  # d c tanh(x / c) / dx, from the capped value; before it is overwritten
            slope = 1 - (logits / softcap).square()
        back = logits.sub_(lse[:, None]).exp_().mul_(-gradient[:, None])
    else:
        # A copy, because what was saved for backward must not change.
        back = probabilities * -gradient[:, None]
    # The one-hot: one entry per token, so that no [T, v] of zeros is made for it.
    inside, index = _inside(targets, at)
    back.scatter_add_(1, index[:, None], torch.where(inside, gradient, 0)[:, None])
    if slope is not None:
        back *= slope
    return back if scale == 1 else back.mul_(scale)


def _logits(states: Tensor, weight: Tensor, bias: Tensor | None, final: tuple[float, float | None]) -> Tensor:
    """Compute float32 logits of a slice, `[T, v]`; in place after the product, to save its size."""
    scale, softcap = final
    logits = linear(states, weight, bias) if weight.dtype == torch.float32 else product(states, weight.t())
    if bias is not None and weight.dtype != torch.float32:
        logits += bias
    if scale != 1:
        logits *= scale
    return logits if softcap is None else logits.div_(softcap).tanh_().mul_(softcap)


def _slices(states: Tensor, weight: Tensor) -> Iterator[slice]:
    """Divide the V rows of the head for a pass of T states: `[T, slice]` logits at a time."""
    # One row of the head at least, where a pass has more tokens than a slice has logits.
    step = max(1, SLICE_LOGITS[states.device.type] // max(1, len(states)))
    return (slice(start, min(start + step, len(weight))) for start in range(0, len(weight), step))


def _inside(targets: Tensor, at: slice) -> tuple[Tensor, Tensor]:
    """Return whether each token's target is in a slice, and its index there, `[T]` each.

    Where the target is elsewhere the index is clamped, because gather and scatter accept no missing index;
    the caller adds 0 for those tokens.
    """
    inside = (targets >= at.start) & (targets < at.stop)
    return inside, (targets - at.start).clamp(0, at.stop - at.start - 1)


def product(left: Tensor, right: Tensor) -> Tensor:
    """Multiply matrices, `[a, b]` by `[b, c]`, into float32 whatever the factors' dtype.

    A GPU multiplies bfloat16 and sums in float32 by itself; a CPU has to convert the factors first.
    """
    if left.dtype == torch.float32:
        return left @ right
    if left.is_cuda and left.dtype in (torch.bfloat16, torch.float16):
        return torch.mm(left, right, out_dtype=torch.float32)
    return left.float() @ right.float()
