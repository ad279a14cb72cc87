"""Whether the policy is the reference until its weights move.

Two passes of one model over one text differ in their last bits where the text shared a micro-batch with other
ones; in bfloat16 by tenths of a nat per completion. A run that starts at its reference would show that as
margins, and a loss with a corner at 0 would train on it. Until the first update the policy's own pass
therefore gives the reference's log-probs too (`forward.score` with the model as its own reference).
"""

from __future__ import annotations

import filecmp
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from pairkit.training.distributed.sharding import gather_tensors
from pairkit.training.logprobs.forward import score_all
from pairkit.training.logprobs.selection import SetSelection, Sums
from pairkit.training.logprobs.self_check import SETS, TOLERANCE
from pairkit.training.tokens.sets import TokenSet

ZERO = {"lora_B", "lora_embedding_A"}  # the factors that peft begins with at 0


def same_checkpoint(one: str, other: str) -> bool:
    """Tell whether two names are of the same weights: equal names, or directories with equal files."""
    if one == other:
        return True
    here, there = ({path.name: path for path in _files(Path(name))} for name in (one, other))
    # By content, because the reference is often a copy; unequal weights differ early, so that little is read.
    return (
        bool(here)
        and here.keys() == there.keys()
        and all(filecmp.cmp(path, there[name], shallow=False) for name, path in here.items())
    )


def adds_nothing(model: nn.Module) -> bool:
    """Tell whether adapters, if there are any, leave the output as it is: a factor of each product is 0.

    Collective for a sharded model.
    """
    factors = [value for name, value in model.named_parameters() if ZERO & set(name.split("."))]
    # Every one is gathered, whatever the others are, because all processes have to take part.
    moved = [bool(gather_tensors(value.detach(), keep=True).any()) for value in factors]
    return not any(moved)


def agrees(
    model: nn.Module, sets: Sequence[TokenSet], reference: Sums, precision: torch.dtype, budget: int
) -> bool:
    """Tell whether the model gives the reference's log-probs of a few sets, up to rounding.

    A guard: what was cached could be of a model that has changed, or that was prepared in another way.

    Args:
        reference: the reference's summed log-probs of every completion of the sets, nats.
        precision: what the model computes in.
        budget: tokens that are scored at once.
    """
    work = [SetSelection.all(item) for item in sets[:SETS]]
    pairs = []  # of every completion, nats per token: the model's, the reference's
    for rows, scored in score_all(model, work, budget):
        for (position, part), means in zip(rows, scored.policy.mean.tolist(), strict=True):
            for completion, mean in zip(part, means, strict=False):  # a row is padded to the widest
                length = work[position].picked[completion].length
                pairs.append((mean, reference[position][completion] / length))
    limit = TOLERANCE[precision]
    return all(abs(ours - theirs) <= limit * (1 + abs(theirs)) for ours, theirs in pairs)


def _files(folder: Path) -> list[Path]:
    return [path for kind in ("*.safetensors", "*.bin", "config.json") for path in folder.glob(kind)]
