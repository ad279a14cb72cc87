"""Log-probs of target tokens from hidden states, by whoever makes them: do they agree, and how fast are they.

Exact is float64, from the same states and the same weight: bfloat16 numbers on a GPU. A kernel agrees where
no log-prob is off by more than 1e-3, relative to 1 + itself, and no gradient by more than 4e-3 of its norm,
which is two roundings of bfloat16 (a gradient is stored in it). In float32 both limits are 1e-4.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear, log_softmax

from gpu import device as devices
from gpu.jobs import ABSENT, DIFFERENT, FAILED, OK, Absent, Job, Result, need, result
from pairkit.training.logprobs.target_logp import target_logp

LIMITS = {torch.bfloat16: (1e-3, 4e-3), torch.float32: (1e-4, 1e-4)}
OURS = "pairkit"
ROWS = 256  # tokens whose exact logits are in memory at once
Kernel = Callable[[Tensor, Tensor, Tensor], Tensor]  # states [T, E], weight [V, E], targets [T] -> [T], nats


class Task(NamedTuple):
    """States [T, E] and a weight [V, E] with logits of a trained model's size, targets, factors of a loss."""

    states: Tensor
    weight: Tensor
    targets: Tensor
    factors: Tensor  # [T], float32: each completion of a pair has one, of either sign


def kernels() -> dict[str, Callable[[torch.device], Kernel]]:
    """Return, by name, what gives a kernel for a device; that raises `Absent` where it is not there."""
    return {
        OURS: lambda device: lambda states, weight, targets: target_logp(states, weight, None, targets),
        "trl": _trl,
        "liger": _liger,
        "cut-cross-entropy": _cut_cross_entropy,
        "torch, linear_cross_entropy": _torch,
        "torch, all logits": lambda device: _all_logits,
    }


def check(job: Job, shape: str) -> Iterator[Result]:
    """Check and time every kernel at one shape; `arguments`: device, dtype, shapes, checked, repeats."""
    device, dtype = torch.device(job.arguments["device"]), getattr(torch, job.arguments["dtype"])
    tokens, width, vocabulary = job.arguments["shapes"][shape]
    task = _task(tokens, width, vocabulary, device, dtype)
    # The first tokens only: a float64 gradient of the whole would take longer than all kernels together.
    some = Task(*(values[: job.arguments["checked"]] for values in task[:1]), task.weight,
                *(values[: job.arguments["checked"]] for values in task[2:]))  # fmt: skip
    exact = _exact(some)
    for name, make in kernels().items():
        try:
            kernel = make(device)
            logp, gradient = _errors(kernel, some, exact)
            seconds, memory = _time(kernel, task, job.arguments["repeats"])
        except Absent as error:
            yield result(job, shape, ABSENT, str(error), kernel=name)
            continue
        except Exception as error:  # of somebody else's kernel, which stops no other
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            yield result(job, shape, FAILED, f"{name}: {reason}", kernel=name)
            continue
        agrees = logp <= LIMITS[dtype][0] and gradient <= LIMITS[dtype][1]
        status = OK if agrees else FAILED if name == OURS else DIFFERENT
        reason = "" if agrees else f"{name}: log-probs off by {logp:.1e}, gradient by {gradient:.1e}"
        yield result(
            job, shape, status, reason, kernel=name, logp=logp, gradient=gradient, seconds=seconds,
            memory=memory, tokens=tokens,
        )  # fmt: skip


def best(results: list[Result]) -> dict[str, str]:
    """Return, by shape, the fastest kernel of those that agree."""
    fastest: dict[str, Result] = {}
    for one in results:
        if one["part"] == "kernels" and one["status"] == OK:
            other = fastest.get(one["item"])
            if other is None or one["values"]["seconds"] < other["values"]["seconds"]:
                fastest[one["item"]] = one
    return {shape: one["values"]["kernel"] for shape, one in fastest.items()}


def _task(tokens: int, width: int, vocabulary: int, device: torch.device, dtype: torch.dtype) -> Task:
    generator = torch.Generator(device).manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device=device)

    # Logits with a standard deviation of 3: their softmax has a few likely tokens and a long tail.
    states, weight = normal(tokens, width).to(dtype), (3 * width**-0.5 * normal(vocabulary, width)).to(dtype)
    targets = torch.randint(vocabulary, (tokens,), generator=generator, device=device)
    likely = torch.cat([linear(part, weight).argmax(dim=1) for part in states.split(ROWS)])
    targets = torch.where(torch.arange(tokens, device=device) % 2 == 0, likely, targets)
    signs = 1 - 2 * (torch.arange(tokens, device=device) // 50 % 2)  # completions of 50 tokens, by turns
    return Task(states, weight, targets, signs * (0.5 + torch.arange(tokens, device=device) // 100 % 3 / 4))


def _exact(task: Task) -> tuple[Tensor, Tensor, Tensor]:
    """Return log-probs [T], and the gradients of states and weight, in float64."""
    weight = task.weight.double()
    for_weight = torch.zeros_like(weight)
    logps, for_states = [], []
    for states, targets, factors in zip(*(x.split(ROWS) for x in (task[0], *task[2:])), strict=True):
        logp = log_softmax(states.double() @ weight.t(), dim=1)  # [ROWS, V]
        logps.append(logp.gather(1, targets[:, None])[:, 0])
        back = logp.exp_().mul_(-factors.double()[:, None])  # of the logits
        back.scatter_add_(1, targets[:, None], factors.double()[:, None])
        for_states.append(back @ weight)
        for_weight += back.t() @ states.double()
    return torch.cat(logps), torch.cat(for_states), for_weight


def _step(kernel: Kernel, task: Task) -> tuple[Tensor, Tensor, Tensor]:
    """Run forward and backward; return log-probs and the gradients of states and weight."""
    states, weight = (x.detach().requires_grad_() for x in task[:2])
    logp = kernel(states, weight, task.targets).float()
    (logp * task.factors).sum().backward()  # type: ignore[no-untyped-call]
    assert states.grad is not None
    assert weight.grad is not None
    return logp.detach(), states.grad, weight.grad


def _errors(kernel: Kernel, task: Task, exact: tuple[Tensor, Tensor, Tensor]) -> tuple[float, float]:
    """Return how far log-probs are off, relative to 1 + themselves, and the gradients, of their norms."""
    logp, *gradients = _step(kernel, task)
    off = ((logp - exact[0]).abs() / (1 + exact[0].abs())).max()
    pairs = zip(gradients, exact[1:], strict=True)
    return float(off), max(float((one.double() - right).norm() / right.norm()) for one, right in pairs)


def _time(kernel: Kernel, task: Task, repeats: int) -> tuple[float, int | None]:
    """Return the median seconds of forward and backward, and the most bytes beyond what was there before."""
    device = task.states.device
    _step(kernel, task)
    devices.forget_peak(device)
    before = devices.peak_memory(device)
    seconds = []
    for _ in range(repeats):
        started = devices.now(device)
        _step(kernel, task)
        seconds.append(devices.now(device) - started)
    memory = None if before is None else (devices.peak_memory(device) or 0) - before
    return statistics.median(seconds), memory


def _trl(device: torch.device) -> Kernel:
    need("trl", "'trl>=1.16'")
    try:
        from trl.kernels.chunked_logprob import ChunkedLogProbFunction
    except ModuleNotFoundError as error:
        raise Absent("this TRL has no fused head: pip install 'trl>=1.16'") from error
    from trl.trainer import utils

    tile = int(utils._CHUNKED_LOGPROB_CHUNK_SIZE)  # tokens of the vocabulary: what TRL's own head sets
    return lambda states, weight, targets: ChunkedLogProbFunction.apply(
        states, weight, None, targets, 1.0, tile, None, 1.0, ()
    )[0]


def _liger(device: torch.device) -> Kernel:
    need("liger_kernel", "liger-kernel")
    _need_cuda(device, "liger")
    from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy

    # Sums of the weight's gradient in float32, as the others have them.
    return lambda states, weight, targets: (
        -liger_fused_linear_cross_entropy(
            states, weight, targets, reduction="none", accum_dtype=torch.float32
        )
    )


def _cut_cross_entropy(device: torch.device) -> Kernel:
    need("cut_cross_entropy", "cut-cross-entropy")
    _need_cuda(device, "cut-cross-entropy")
    from cut_cross_entropy import linear_cross_entropy

    return lambda states, weight, targets: -linear_cross_entropy(states, weight, targets, reduction="none")


def _torch(device: torch.device) -> Kernel:
    function: Any = getattr(torch.nn.functional, "linear_cross_entropy", None)
    if function is None:
        raise Absent("this torch has no linear_cross_entropy: pip install 'torch>=2.13'")
    return lambda states, weight, targets: -function(states, weight, targets, reduction="none")


def _all_logits(states: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    return log_softmax(linear(states, weight).float(), dim=1).gather(1, targets[:, None])[:, 0]


def _need_cuda(device: torch.device, name: str) -> None:
    if device.type != "cuda":
        raise Absent(f"{name}'s kernels are Triton's, for a GPU only")
