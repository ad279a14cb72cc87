"""From hidden states to what a loss needs of each token, never holding `[tokens, vocabulary]`.

A token's log-prob is always that of `target_logp`, whatever else is wanted, because a loss subtracts the
log-probs of two passes, and two ways to round would differ by a number that grows with the length. The rest
of this module is for more; only a KL, whose gradient is over the whole vocabulary, brings the log-probs of
policy and reference with it.

Tokens pass the output head in chunks of at most `CHUNK_LOGITS` logits. Where there are several chunks,
backward computes a chunk's logits again, turns them into the gradient of that chunk and adds it to one buffer
for the head's weight; autograd's own checkpoints would make a gradient as large as the head per chunk. Peak
memory is about six chunks of float32 and that buffer, whatever the number of tokens.

Logits and log-probs are float32 whatever the model's dtype: a loss subtracts sums of hundreds of log-probs,
and the three digits of bfloat16 would be gone after the subtraction.

Shapes: T completion tokens, E hidden width, V vocabulary, S statistics. Log-probs, KL and entropy are in
    nats.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear
from torch.special import entr

from pairkit.training.logprobs.target_logp import product, target_logp

CHUNK_LOGITS = 2**24  # 64 MiB of float32
WITH_GRADIENT = ("logp", "token_kl")
WITHOUT_GRADIENT = ("alignment", "entropy", "reference")


class Head(NamedTuple):
    """An output head: logits = softcap(scale * (hidden @ weight.T + bias)), softcap(x) = c tanh(x / c).

    Attributes:
        weight: `[V, E]`.
        bias: `[V]` or None.
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
        """Return the logits before scale and softcap, `[T, V]` float32 whatever the weight's dtype."""
        if self.weight.dtype == torch.float32:
            return linear(hidden, self.weight, self.bias)
        logits = product(hidden, self.weight.t())  # the bias is added in float32, after the product
        return logits if self.bias is None else logits + self.bias

    def final(self, logits: Tensor) -> Tensor:
        """Apply scale and softcap to what `product` returns."""
        logits = logits if self.scale == 1 else logits * self.scale  # a product with 1 would copy [T, V]
        return logits if self.softcap is None else torch.tanh(logits / self.softcap) * self.softcap


class Hidden(NamedTuple):
    """What one model has for some tokens: the states that predict them, and the head to read them with."""

    states: Tensor  # [T, E], of the weight's dtype
    head: Head
    precision: torch.dtype = torch.float32  # what the model computed them in


class _Task(NamedTuple):
    """What is computed for which tokens; no gradient flows into it."""

    names: tuple[str, ...]
    targets: Tensor  # [T] int64
    reference: Hidden | None
    scale: float
    softcap: float | None
    chunk: int  # tokens

    def chunks(self) -> Iterator[slice]:
        return (slice(at, at + self.chunk) for at in range(0, max(1, len(self.targets)), self.chunk))

    def reference_logits(self, at: slice) -> Tensor | None:
        """Compute the reference's logits of a chunk, `[chunk, V']`."""
        if self.reference is None:
            return None
        head = self.reference.head
        return head.final(head.product(self.reference.states[at]))


def statistic_names(want: frozenset[str], *, live: bool) -> tuple[str, ...]:
    """Return what is computed for each token, those with gradient first; "logp" always."""
    names = want | {"logp"} | ({"reference"} if live else set())
    return tuple(name for name in WITH_GRADIENT + WITHOUT_GRADIENT if name in names)


def token_statistics(
    names: tuple[str, ...], policy: Hidden, targets: Tensor, reference: Hidden | None = None
) -> dict[str, Tensor]:
    """Compute statistics of each token from hidden states: float32 `[T]` by name.

    Args:
        names: from `statistic_names`; `statistics_from_logits` defines them.
        targets: the tokens' ids, int64 `[T]`.
        reference: the online reference's states; no gradient flows into it.
    """
    if reference is not None:
        # Detached here, because with adapters switched off the reference's head is the policy's.
        other = reference.head
        weight, bias = other.weight.detach(), None if other.bias is None else other.bias.detach()
        reference = Hidden(reference.states.detach(), other._replace(weight=weight, bias=bias))
    if "token_kl" in names:
        return _from_vocabulary(names, policy, targets, reference)
    values = {"logp": _target_logp(policy, targets)}
    if reference is not None:
        values["reference"] = _target_logp(reference, targets)
    if others := tuple(name for name in names if name not in values):
        with torch.no_grad():  # they only weight or describe a loss
            values |= _from_vocabulary(others, policy, targets, None)
    return values


def _target_logp(hidden: Hidden, targets: Tensor) -> Tensor:  # [T]
    weight, bias, scale, softcap = hidden.head
    return target_logp(hidden.states, weight, bias, targets, scale=scale, softcap=softcap)


def _from_vocabulary(
    names: tuple[str, ...], policy: Hidden, targets: Tensor, reference: Hidden | None
) -> dict[str, Tensor]:
    """Compute statistics, `[T]` each, from the logits of the whole vocabulary, chunk by chunk."""
    head = policy.head
    # By the number of logits, not of tokens: vocabularies differ by a factor of ten, and memory with them.
    chunk = max(1, CHUNK_LOGITS // head.size)  # tokens; one at least, whatever the vocabulary
    task = _Task(names, targets, reference, head.scale, head.softcap, chunk)
    if len(targets) <= chunk and head.weight.dtype == torch.float32:
        # One chunk: autograd keeps its logits, which is cheaper than computing them again.
        logits = head.final(head.product(policy.states))
        rows = statistics_from_logits(names, logits, targets, task.reference_logits(slice(None)))
    else:
        rows = _Chunked.apply(policy.states, head.weight, head.bias, task)  # type: ignore[no-untyped-call]
    return rows_by_name(names, rows)


def rows_by_name(names: Sequence[str], rows: Tensor) -> dict[str, Tensor]:
    """Name the rows of `[S, T]` (`statistics_from_logits`), with gradient only on those that have one."""
    return {
        name: row if name in WITH_GRADIENT else row.detach() for name, row in zip(names, rows, strict=True)
    }


def statistics_from_logits(
    names: Sequence[str], logits: Tensor, targets: Tensor, reference: Tensor | None
) -> Tensor:
    """Compute `[S, T]` from float32 logits `[T, V]`, in nats.

    logp: log p(y). token_kl: KL(reference || policy) over the vocabulary. alignment: log p(y) - log sum_v
    p(v)^2. entropy: that of p. reference: log p(y) under the reference.
    """
    logp = _log_softmax(logits)  # [T, V]
    plain = logp.detach()  # for statistics that only weight a loss: no gradient flows through them
    values = {"logp": _at_targets(logp, targets)}
    if reference is not None:
        reference_logp = _log_softmax(reference)  # [T, V']
        values["reference"] = _at_targets(reference_logp, targets)
        if "token_kl" in names:
            if reference_logp.shape != logp.shape:
                raise ValueError(
                    f"token_kl needs one vocabulary, but the model has {logp.shape[1]} tokens and "
                    f"the reference {reference_logp.shape[1]}"
                )
            values["token_kl"] = _kl(reference_logp, logp)
    if "alignment" in names:
        # logsumexp of doubled log-probs, because the squares of small probabilities underflow in float32.
        values["alignment"] = _at_targets(plain, targets) - (2 * plain).logsumexp(dim=-1)
    if "entropy" in names:
        # entr is 0 at p = 0, where p log p would be NaN.
        values["entropy"] = entr(logits.detach().softmax(dim=-1)).sum(dim=-1)
    return torch.stack([values[name] for name in names])


class _Chunked(torch.autograd.Function):
    """`statistics_from_logits` chunk by chunk, the logits computed again in backward."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None, task: _Task) -> Tensor:
        # Only what exists anyway: logits are made again, because T x V of them would not fit into memory.
        ctx.save_for_backward(states, weight, bias)
        ctx.task = task
        head = Head(weight, bias, task.scale, task.softcap)

        def chunk_statistics(at: slice) -> Tensor:  # [S, chunk]
            logits = head.final(head.product(states[at]))
            return statistics_from_logits(task.names, logits, task.targets[at], task.reference_logits(at))

        return torch.cat([chunk_statistics(at) for at in task.chunks()], dim=1)  # [S, T]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        states, weight, bias = ctx.saved_tensors
        task: _Task = ctx.task
        head = Head(weight, bias, task.scale, task.softcap)
        differentiable = [name for name in task.names if name in WITH_GRADIENT]
        # Frozen parts (adapters, a frozen head) cost nothing: their gradients are not computed.
        needs_gradient = ctx.needs_input_grad
        # A token's state is in one chunk, so its gradient is written once and has the state's own dtype.
        for_states = torch.empty_like(states) if needs_gradient[0] else None
        # float32 buffers: hundreds of chunks are added up, and a bfloat16 sum would stop growing. The order
        # of the sum is that of the tokens, so that two runs of one recipe end in the same bytes.
        for_weight = torch.zeros(weight.shape, device=weight.device) if needs_gradient[1] else None
        for_bias = torch.zeros(bias.shape, device=bias.device) if needs_gradient[2] else None

        def add_chunk(at: slice) -> None:
            logits = head.product(states[at]).requires_grad_()
            # Only the KL's gradient depends on the reference; nothing else needs its logits again.
            reference = task.reference_logits(at) if "token_kl" in differentiable else None
            with torch.enable_grad():
                rows = statistics_from_logits(differentiable, head.final(logits), task.targets[at], reference)
            # Autograd goes back to the product alone; from there on we write into buffers of our own.
            (back,) = torch.autograd.grad(rows, logits, gradient[: len(differentiable), at])  # [chunk, V]
            if for_bias is not None:
                for_bias.add_(back.sum(dim=0))  # [V]
            back = back.to(weight.dtype)  # as autograd would: the factors of a product have one dtype
            if for_states is not None:
                for_states[at] = back @ weight  # [chunk, E]
            if for_weight is not None:
                _add_product(for_weight, back.t(), states[at])  # [V, E]

        for at in task.chunks():
            add_chunk(at)
        return (
            for_states,
            # Rounded to the parameter's dtype once, after the last chunk.
            None if for_weight is None else for_weight.to(weight.dtype),
            None if for_bias is None else for_bias.to(bias.dtype),
            None,
        )


def _log_softmax(logits: Tensor) -> Tensor:
    """Normalize `[T, V]` as `target_logp` does.

    torch's own log_softmax sums a vocabulary's exponentials one after the other on a CPU, and is off by up to
    1e-5 nats in the same direction at every token; logsumexp adds them in a tree.
    """
    return logits - logits.logsumexp(dim=-1, keepdim=True)


def _kl(logp: Tensor, other: Tensor) -> Tensor:
    """Compute KL(p || q) from log-probs, `[T, V]` to `[T]`.

    As the sum of p (e^d - 1 - d), d = log q - log p, whose first part adds up to 0. The sum of -p d alone has
    the rounding of the log-probs, 4e-7 nats, which is the whole of a KL where d is 0.001, as in first steps.
    """
    difference, weight = other - logp, logp.exp()
    near = difference < 1.0  # beyond, e^d may overflow, and the probabilities' difference has its digits
    change = torch.where(near, weight * difference.clamp(max=1.0).expm1(), other.exp() - weight)
    return (change - weight * difference).sum(dim=-1)


def _at_targets(logp: Tensor, targets: Tensor) -> Tensor:
    """Pick each token's own log-prob: `[T, V]` to `[T]`."""
    return logp.gather(1, targets[:, None])[:, 0]


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add `left @ right` to a float32 total, `[V, E]`, in float32 without a temporary of its size.

    `left` is `[V, chunk]`, `right` `[chunk, E]`.
    """
    # For a head of 128,000 tokens and 4,096 states such a temporary would be 2 GB per chunk.
    if left.dtype == torch.float32:
        total.addmm_(left, right)
    else:
        total.add_(product(left, right))
