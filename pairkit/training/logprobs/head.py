"""From hidden states to what a loss needs of each token, never holding [tokens, vocabulary].

Where that is the token's log-prob alone, `target_logp` makes it; the rest of this module is for more.
Tokens pass the output head in chunks of at most `CHUNK_LOGITS` logits. Where there are several, backward
computes a chunk's logits again, turns them into the gradient of that chunk and adds it to one buffer for
the head's weight; autograd's own checkpoints would make a gradient as large as the head a chunk. Peak memory
is some six chunks of float32 and that buffer, whatever the number of tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import kl_div, linear, log_softmax
from torch.special import entr

from pairkit.training.logprobs.target_logp import product, target_logp

CHUNK_LOGITS = 2**24  # 64 MiB of float32
WITH_GRADIENT = ("logp", "token_kl")
WITHOUT_GRADIENT = ("alignment", "entropy", "reference")


class Head(NamedTuple):
    """An output head: logits = softcap(scale * (hidden @ weight.T + bias)), softcap(x) = c tanh(x / c).

    Attributes:
        weight: [vocabulary, hidden].
        bias: [vocabulary] or None.
        scale: Cohere's `logit_scale`, the inverse of Granite's `logits_scaling`.
        softcap: c, Gemma's `final_logit_softcapping`; None for none.
    """

    weight: Tensor
    bias: Tensor | None
    scale: float = 1.0
    softcap: float | None = None

    @property
    def size(self) -> int:
        """Tokens of the vocabulary."""
        return self.weight.shape[0]

    def product(self, hidden: Tensor) -> Tensor:
        """[tokens, vocabulary], before scale and softcap, float32 whatever the weight's dtype."""
        if self.weight.dtype == torch.float32:
            return linear(hidden, self.weight, self.bias)
        logits = product(hidden, self.weight.t())
        return logits if self.bias is None else logits + self.bias

    def final(self, logits: Tensor) -> Tensor:
        """`product` with scale and softcap."""
        logits = logits if self.scale == 1 else logits * self.scale
        return logits if self.softcap is None else torch.tanh(logits / self.softcap) * self.softcap


class Hidden(NamedTuple):
    """What one model has for some tokens: the states that predict them, and the head to read them with."""

    states: Tensor  # [tokens, hidden], of the weight's dtype
    head: Head


class _Task(NamedTuple):
    """What is computed of which tokens; no gradient flows into it."""

    names: tuple[str, ...]
    targets: Tensor
    reference: Hidden | None
    scale: float
    softcap: float | None
    chunk: int

    def chunks(self) -> Iterator[slice]:
        return (slice(at, at + self.chunk) for at in range(0, max(1, len(self.targets)), self.chunk))

    def known(self, at: slice) -> Tensor | None:
        """The reference's logits of a chunk."""
        if self.reference is None:
            return None
        head = self.reference.head
        return head.final(head.product(self.reference.states[at]))


def statistics_of(want: frozenset[str], *, live: bool) -> tuple[str, ...]:
    """What is computed of each token, those with gradient first; "logp" always."""
    wanted = want | {"logp"} | ({"reference"} if live else set())
    return tuple(name for name in WITH_GRADIENT + WITHOUT_GRADIENT if name in wanted)


def token_statistics(
    names: tuple[str, ...], policy: Hidden, targets: Tensor, reference: Hidden | None = None
) -> dict[str, Tensor]:
    """What is computed of each token, [tokens] float32 by name, from hidden states.

    Args:
        names: from `statistics_of`; `of_logits` says what they are.
        targets: the tokens' ids, [tokens] int64.
        reference: the live reference's; no gradient flows into it.
    """
    head = policy.head
    if names == ("logp",):
        weight, bias, scale, softcap = head
        return {"logp": target_logp(policy.states, weight, bias, targets, scale=scale, softcap=softcap)}
    chunk = max(1, CHUNK_LOGITS // head.size)
    if reference is not None:
        states, known = reference
        weight, bias = known.weight.detach(), None if known.bias is None else known.bias.detach()
        reference = Hidden(states.detach(), known._replace(weight=weight, bias=bias))
    task = _Task(names, targets, reference, head.scale, head.softcap, chunk)
    if len(targets) <= chunk and head.weight.dtype == torch.float32:
        found = of_logits(names, head.final(head.product(policy.states)), targets, task.known(slice(None)))
    else:
        found = _Chunked.apply(policy.states, head.weight, head.bias, task)  # type: ignore[no-untyped-call]
    return by_name(names, found)


def by_name(names: Sequence[str], rows: Tensor) -> dict[str, Tensor]:
    """The rows of `of_logits` by name, gradient on those alone that have one."""
    return {
        name: row if name in WITH_GRADIENT else row.detach() for name, row in zip(names, rows, strict=True)
    }


def of_logits(names: Sequence[str], logits: Tensor, targets: Tensor, reference: Tensor | None) -> Tensor:
    """[names, tokens] from float32 logits [tokens, vocabulary], nats.

    logp: log p(y). token_kl: KL(reference || policy) over the vocabulary. alignment: log p(y) - log sum_v
    p(v)^2. entropy: that of p. reference: log p(y) under the reference.
    """
    logp = log_softmax(logits, dim=-1)
    plain = logp.detach()
    found = {"logp": _at(logp, targets)}
    if reference is not None:
        known = log_softmax(reference, dim=-1)
        found["reference"] = _at(known, targets)
        if "token_kl" in names:
            if known.shape != logp.shape:
                raise ValueError(
                    f"token_kl needs one vocabulary: the model has {logp.shape[1]} tokens, "
                    f"the reference {known.shape[1]}"
                )
            found["token_kl"] = kl_div(logp, known, reduction="none", log_target=True).sum(dim=-1)
    if "alignment" in names:
        found["alignment"] = _at(plain, targets) - (2 * plain).logsumexp(dim=-1)
    if "entropy" in names:
        found["entropy"] = entr(logits.detach().softmax(dim=-1)).sum(dim=-1)
    return torch.stack([found[name] for name in names])


class _Chunked(torch.autograd.Function):
    """`of_logits` chunk by chunk, the logits computed again in backward."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None, task: _Task) -> Tensor:
        ctx.save_for_backward(states, weight, bias)
        ctx.task = task
        head = Head(weight, bias, task.scale, task.softcap)

        def part(at: slice) -> Tensor:
            logits = head.final(head.product(states[at]))
            return of_logits(task.names, logits, task.targets[at], task.known(at))

        return torch.cat([part(at) for at in task.chunks()], dim=1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        states, weight, bias = ctx.saved_tensors
        task: _Task = ctx.task
        head = Head(weight, bias, task.scale, task.softcap)
        differentiable = [name for name in task.names if name in WITH_GRADIENT]
        wanted = ctx.needs_input_grad
        for_states = torch.empty_like(states) if wanted[0] else None
        for_weight = torch.zeros(weight.shape, device=weight.device) if wanted[1] else None
        for_bias = torch.zeros(bias.shape, device=bias.device) if wanted[2] else None

        def part(at: slice) -> None:
            logits = head.product(states[at]).requires_grad_()
            known = task.known(at) if "token_kl" in differentiable else None
            with torch.enable_grad():
                found = of_logits(differentiable, head.final(logits), task.targets[at], known)
            (back,) = torch.autograd.grad(found, logits, gradient[: len(differentiable), at])
            if for_bias is not None:
                for_bias.add_(back.sum(dim=0))
            back = back.to(weight.dtype)
            if for_states is not None:
                for_states[at] = back @ weight
            if for_weight is not None:
                _add_product(for_weight, back.t(), states[at])

        for at in task.chunks():
            part(at)
        return (
            for_states,
            None if for_weight is None else for_weight.to(weight.dtype),
            None if for_bias is None else for_bias.to(bias.dtype),
            None,
        )


def _at(logp: Tensor, targets: Tensor) -> Tensor:
    return logp.gather(1, targets[:, None])[:, 0]


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    if left.dtype == torch.float32:
        total.addmm_(left, right)
    else:
        total.add_(product(left, right))
