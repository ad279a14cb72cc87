"""The scoring pass: log-probs of a whole batch without gradient, divided among the processes.

Shapes: B sets of the batch, K completions of the set that has the most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from pairkit.losses import Logps
from pairkit.training.distributed.processes import Processes
from pairkit.training.logprobs.forward import score, score_all
from pairkit.training.logprobs.probe import packs
from pairkit.training.logprobs.selection import Scored, SetSelection, lengths

PREFIX_FIELDS = ("head_sum", "chosen_head")  # [B, K] each, nats; what ld_dpo needs


def score_batch(
    model: nn.Module,
    work: Sequence[SetSelection],
    *,
    tokens_per_micro_batch: int,
    want: frozenset[str] = frozenset(),
    live: nn.Module | None = None,
    processes: Processes,
    through: Callable[..., Scored] = score,
    packing: Callable[..., bool] = packs,
) -> Scored:
    """Score the selected completions of all of `work`, on the CPU, the same on every process.

    Args:
        want: what is computed besides sums; see `forward.score`.
        live: the reference model, where it has to be run next to the policy.
        through: the pass over some sets, called as `forward.score` is.
        packing: whether that shares prompts, called as `probe.packs` is.
    """
    most = 1 + max(completion for item in work for completion in item.columns)
    # [B, most] each, by the completion's index in its set, not by its place in the selection.
    # On the CPU, because negatives are drawn there, equally on every process.
    grids: dict[str, Tensor] = {name: torch.zeros(len(work), most) for name in _names(want, live is not None)}
    # A completion that was sampled twice is scored once.
    unique = [SetSelection(item.tokens, tuple(sorted(set(item.columns)))) for item in work]
    # Shared out by tokens, because the pass takes as long as the slowest process.
    mine = processes.share([item.size for item in unique])
    budget = tokens_per_micro_batch
    # A set that exceeds the budget comes back in several rows, each with some of its completions.
    some = [unique[i] for i in mine]
    passes = score_all(model, some, budget, want=want, live=live, through=through, packing=packing)
    for rows, scores in passes:
        for name, values in _tensors(scores):
            for (position, completions), row in zip(rows, values.cpu(), strict=True):
                grids[name][mine[position], list(completions)] = row[: len(completions)]
    # Each number is on one process and 0 on the others, so the sum is exact in any order.
    processes.add(list(grids.values()))
    length, mask = lengths(work)  # [B, K] each
    index = _index(work, mask)  # back to the places of the selection, [B, K]
    # Clamped, because gather takes no -1; what it picks there is masked.
    tensors = {name: values.gather(1, index.clamp(min=0)) for name, values in grids.items()}
    policy = Logps(tensors.pop("sum"), length, mask)
    entropy = tensors.pop("entropy", None)  # no field of `Logps`
    reference = None
    if live is not None:
        prefixes = {
            name: tensors.pop(f"reference_{name}") for name in PREFIX_FIELDS if f"reference_{name}" in tensors
        }
        # From `policy` while it holds sums only, so that none of its statistics ends up in the reference.
        reference = replace(policy, sum=tensors.pop("reference"), **prefixes)
    return Scored(replace(policy, **tensors), reference, entropy)


def _names(want: frozenset[str], live: bool) -> list[str]:
    """Return the names that `_tensors` yields; without a pass, because a process may have no set to score."""
    # Sorted, because the order of a frozenset differs between processes, which add tensors by their place.
    names = ["sum", *sorted(want)]
    if live:
        names.append("reference")
    if "head_sum" in want:
        names += ["chosen_head", *(f"reference_{name}" for name in PREFIX_FIELDS if live)]
    return names


def _tensors(scores: Scored) -> Iterator[tuple[str, Tensor]]:
    """Yield every `[B, K]` tensor of a pass by a name of its own."""
    for name, values in scores.policy.tensors().items():
        if name not in ("length", "mask"):  # known without a pass
            yield name, values
    if scores.entropy is not None:
        yield "entropy", scores.entropy
    if scores.reference is not None:
        yield "reference", scores.reference.sum
        for name in PREFIX_FIELDS:
            if (values := getattr(scores.reference, name)) is not None:
                yield f"reference_{name}", values


def _index(work: Sequence[SetSelection], mask: Tensor) -> Tensor:
    """Return the index of each selected completion in its set, int64 `[B, K]`; -1 where masked."""
    index = torch.full(mask.shape, -1, dtype=torch.int64)
    for i, item in enumerate(work):
        index[i, : len(item.columns)] = torch.tensor(item.columns)
    return index
