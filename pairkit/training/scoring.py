"""The scoring pass: log-probs of a whole batch without gradient, shared out over the processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from pairkit.losses import Logps
from pairkit.training.forward import Scored, Work, lengths, score_all
from pairkit.training.ranks import Ranks

PER_TOKEN = frozenset({"token_kl", "alignment", "head_sum"})  # what a loss may need of a pass besides sums


def score_batch(
    model: nn.Module,
    work: Sequence[Work],
    *,
    tokens_per_micro_batch: int,
    want: frozenset[str] = frozenset(),
    live: nn.Module | None = None,
    ranks: Ranks,
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
    once = [Work(item.tokens, tuple(sorted(set(item.columns)))) for item in work]
    mine = ranks.share(len(work))
    budget = tokens_per_micro_batch
    for rows, scored in score_all(model, [once[i] for i in mine], budget, want=want, live=live):
        for name, values in _tensors(scored):
            for (position, columns), row in zip(rows, values.cpu(), strict=True):
                filled[name][mine[position], list(columns)] = row[: len(columns)]
    ranks.add(list(filled.values()))  # each number stands on one process, zeros on the others
    length, mask = lengths(work)
    index = _index(work, mask)
    found = {name: values.gather(1, index.clamp(min=0)) for name, values in filled.items()}
    policy = Logps(found.pop("sum"), length, mask)
    entropy = found.pop("entropy", None)
    reference = None
    if live is not None:
        reference = replace(policy, sum=found.pop("reference"), head_sum=found.pop("reference_head", None))
    return Scored(replace(policy, **found), reference, entropy)


def _names(want: frozenset[str], live: bool) -> list[str]:
    names = ["sum", *sorted(want)]
    if live:
        names += ["reference", "reference_head"] if "head_sum" in want else ["reference"]
    return names


def _tensors(scored: Scored) -> Iterator[tuple[str, Tensor]]:
    for name, values in scored.policy.tensors().items():
        if name not in ("length", "mask"):
            yield name, values
    if scored.entropy is not None:
        yield "entropy", scored.entropy
    if scored.reference is not None:
        yield "reference", scored.reference.sum
        if scored.reference.head_sum is not None:
            yield "reference_head", scored.reference.head_sum


def _index(work: Sequence[Work], mask: Tensor) -> Tensor:
    index = torch.full(mask.shape, -1, dtype=torch.int64)
    for i, item in enumerate(work):
        index[i, : len(item.columns)] = torch.tensor(item.columns)
    return index
