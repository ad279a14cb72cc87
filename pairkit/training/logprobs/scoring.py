"""The scoring pass: log-probs of a whole batch without gradient, shared out over the processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from pairkit.losses import Logps
from pairkit.training.distributed.processes import Processes
from pairkit.training.logprobs.forward import score_all
from pairkit.training.logprobs.selection import Scored, SetSelection, lengths

HEADS = ("head_sum", "chosen_head")


def score_batch(
    model: nn.Module,
    work: Sequence[SetSelection],
    *,
    tokens_per_micro_batch: int,
    want: frozenset[str] = frozenset(),
    live: nn.Module | None = None,
    processes: Processes,
) -> Scored:
    """Log-probs of the wanted columns of all of `work`, on the CPU, the same on every process.

    Args:
        want: what is computed besides sums; see `forward.score`.
        live: the reference model, where it has to be run beside the policy.
    """
    most = 1 + max(column for item in work for column in item.columns)
    filled: dict[str, Tensor] = {
        name: torch.zeros(len(work), most) for name in _names(want, live is not None)
    }
    # A completion that was drawn twice is scored once.
    once = [SetSelection(item.tokens, tuple(sorted(set(item.columns)))) for item in work]
    mine = processes.share([one.size for one in once])
    budget = tokens_per_micro_batch
    for rows, scored in score_all(model, [once[i] for i in mine], budget, want=want, live=live):
        for name, values in _tensors(scored):
            for (position, columns), row in zip(rows, values.cpu(), strict=True):
                filled[name][mine[position], list(columns)] = row[: len(columns)]
    processes.add(list(filled.values()))  # each number stands on one process, zeros on the others
    length, mask = lengths(work)
    index = _index(work, mask)
    found = {name: values.gather(1, index.clamp(min=0)) for name, values in filled.items()}
    policy = Logps(found.pop("sum"), length, mask)
    entropy = found.pop("entropy", None)
    reference = None
    if live is not None:
        heads = {name: found.pop(f"reference_{name}") for name in HEADS if f"reference_{name}" in found}
        reference = replace(policy, sum=found.pop("reference"), **heads)
    return Scored(replace(policy, **found), reference, entropy)


def _names(want: frozenset[str], live: bool) -> list[str]:
    names = ["sum", *sorted(want)]
    if live:
        names.append("reference")
    if "head_sum" in want:
        names += ["chosen_head", *(f"reference_{name}" for name in HEADS if live)]
    return names


def _tensors(scored: Scored) -> Iterator[tuple[str, Tensor]]:
    for name, values in scored.policy.tensors().items():
        if name not in ("length", "mask"):
            yield name, values
    if scored.entropy is not None:
        yield "entropy", scored.entropy
    if scored.reference is not None:
        yield "reference", scored.reference.sum
        for name in HEADS:
            if (values := getattr(scored.reference, name)) is not None:
                yield f"reference_{name}", values


def _index(work: Sequence[SetSelection], mask: Tensor) -> Tensor:
    index = torch.full(mask.shape, -1, dtype=torch.int64)
    for i, item in enumerate(work):
        index[i, : len(item.columns)] = torch.tensor(item.columns)
    return index
