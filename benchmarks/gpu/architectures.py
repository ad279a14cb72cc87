"""Check: packed = separate, forward and backward, for every class that shares prompts in docs/models.md.

Separate is transformers alone, each text by itself. Packed are the two passes of a run: all completions of
some sets in one sequence, and MC-PO's, which has the others on the keys of a first sequence. On a GPU both
attend with flex_attention.

float32: summed log-probs differ by at most 1e-4 of the largest one, and the gradient by 1e-3 of its norm.
bfloat16: both are compared with a float32 model of the same weights, and packed may be twice as far from it
as separate is, plus 2 %; rounding is by texts' shapes and differs, and a router may send a token elsewhere.
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gpu.jobs import FAILED, OK, Job, Result, result
from pairkit.training.logprobs.attention import using_packed_attention
from pairkit.training.logprobs.draw_in_pass import score_drawn
from pairkit.training.logprobs.forward import score
from pairkit.training.logprobs.probe import continues, packs
from pairkit.training.logprobs.selection import SetSelection
from pairkit.training.tokens.token_set import Column, TokenSet

TESTS = Path(__file__).parents[2] / "tests"
LOGP, GRADIENT = 1e-4, 1e-3  # float32: of the largest log-prob, of the gradient's norm
FACTOR, ROUNDING = 2.0, 0.02  # bfloat16: times the error of the separate pass, and plus this
# Tokens of a prompt and of its completions; several blocks of flex_attention's mask, and one of a few tokens.
LENGTHS = {
    "tiny": ((5, 3, 9, 1), (2, 4, 7)),
    "long": ((60, 50, 17, 60), (40, 30, 41), (70, 1, 33, 12), (5, 3, 9, 1), (64, 58, 2)),
}


def classes() -> tuple[str, ...]:
    """Return the cases that share prompts, by the stored results of the sweep over all classes."""
    stored = json.loads((TESTS / "architectures" / "results.json").read_text(encoding="utf-8"))
    return tuple(case for case, found in stored["results"].items() if found["layout"] == "packed")


def check(job: Job, case: str) -> Iterator[Result]:
    """Compare one class in one dtype; `arguments`: device, dtype, lengths."""
    sys.path.insert(0, str(TESTS))
    from support.tiny_class import build

    device, dtype = torch.device(job.arguments["device"]), getattr(torch, job.arguments["dtype"])
    model, reason = build(case)
    if model is None:
        yield result(job, case, FAILED, f"transformers cannot build it: {reason}")
        return
    model = model.eval().to(dtype)
    work = _work(LENGTHS[job.arguments["lengths"]])
    exact = _separate(copy.deepcopy(model).float().to(device), work)
    model = model.to(device)
    # In float32 alone: bfloat16 sends tokens of tiny models to other experts, and the probe sees that.
    if dtype == torch.float32 and not packs(model):
        yield result(job, case, FAILED, "it does not share prompts here, as it does on a CPU")
        return
    limits = (LOGP, GRADIENT)
    if dtype != torch.float32:
        limits = tuple(FACTOR * error + ROUNDING for error in _errors(_separate(model, work), exact))
    found = {"packed": _errors(_packed(model, work), exact)}
    if continues(model):  # otherwise a run scores whole sets before it draws
        found["drawn"] = _errors(_drawn(model, work), exact)
    wrong = [
        f"{name}: {what} off by {error:.1e}, limit {limit:.1e}"
        for name, errors in found.items()
        for what, error, limit in zip(("log-probs", "gradient"), errors, limits, strict=True)
        if not error <= limit
    ]
    values = {name: {"logp": errors[0], "gradient": errors[1]} for name, errors in found.items()}
    yield result(job, case, FAILED if wrong else OK, "; ".join(wrong), limits=limits, **values)


Computed = tuple[Tensor, dict[str, Tensor]]  # log-probs [B, K], and the gradient by weight


def _work(lengths: tuple[tuple[int, ...], ...]) -> list[SetSelection]:
    random = np.random.default_rng(0)

    def ids(count: int) -> Any:
        return random.integers(3, 300, count).astype(np.int32)  # of `support.shrink`'s vocabulary

    sets = [
        TokenSet(str(i), ids(prompt), tuple(Column(ids(n), None, None, "source") for n in counts))
        for i, (prompt, *counts) in enumerate(lengths)
    ]
    return [SetSelection.all(item) for item in sets]


def _separate(model: nn.Module, work: list[SetSelection]) -> Computed:
    from support.tiny_class import plain_sums

    sums = plain_sums(model, work)
    return sums.detach(), _gradient(model, sums)


def _packed(model: nn.Module, work: list[SetSelection]) -> Computed:
    sums = score(model, work, shared=True).policy.sum
    with using_packed_attention(model):
        return sums.detach(), _gradient(model, sums)


def _drawn(model: nn.Module, work: list[SetSelection]) -> Computed:
    """Score as MC-PO does, and draw every completion, so that the numbers are those of the other passes."""
    with using_packed_attention(model):
        _, scored = score_drawn(model, work, lambda _: work, 64, lead=True)
        return scored.policy.sum.detach(), _gradient(model, scored.policy.sum)


def _gradient(model: nn.Module, sums: Tensor) -> dict[str, Tensor]:
    """Return the gradient of a sum with another weight for each completion."""
    weights = torch.arange(sums.numel(), device=sums.device).view(sums.shape) % 7 - 2.5
    model.zero_grad()
    (weights * sums).sum().backward()  # type: ignore[no-untyped-call]
    return {name: p.grad.float() for name, p in model.named_parameters() if p.grad is not None}


def _errors(found: Computed, exact: Computed) -> tuple[float, float]:
    """Return how far log-probs are off, of the largest, and how far the gradient, of its norm."""
    sums, gradient = found
    squares = sum(float((gradient.get(name, 0) - right).square().sum()) for name, right in exact[1].items())
    norm = sum(float(right.square().sum()) for right in exact[1].values())
    off = float((sums - exact[0]).abs().max() / exact[0].abs().max())
    return off, (squares / norm) ** 0.5
