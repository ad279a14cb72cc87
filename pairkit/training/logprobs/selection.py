"""Which completions of a set are scored, how they are grouped into micro-batches, and what comes back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pairkit.losses import Logps
from pairkit.training.tokens.sets import Column, Ids, TokenSet


class SetSelection(NamedTuple):
    """A set and which of its columns are wanted."""

    tokens: TokenSet
    columns: tuple[int, ...]

    @classmethod
    def all(cls, tokens: TokenSet) -> SetSelection:
        """Every completion of the set, in the set's order."""
        return cls(tokens, tuple(range(len(tokens.columns))))

    @property
    def completions(self) -> list[Ids]:
        """The wanted ones."""
        return [self.tokens.columns[c].ids for c in self.columns]

    @property
    def width(self) -> int:
        """Tokens of its longest completion and the prompt."""
        return len(self.tokens.prompt) + max(len(ids) for ids in self.completions)

    @property
    def size(self) -> int:
        """Tokens of the prompt and of all wanted completions."""
        return len(self.tokens.prompt) + sum(len(ids) for ids in self.completions)


def micro_batches(work: Sequence[SetSelection], budget: int, *, shared: bool) -> list[list[int]]:
    """Positions in `work` in groups that pass at most `budget` tokens; longest sets first.

    A set is never divided; one that exceeds the budget alone is a group of its own.

    Args:
        shared: whether a set's prompt passes once, else every completion is a padded row.
    """
    groups: list[list[int]] = []
    tokens = rows = width = 0
    for position in sorted(range(len(work)), key=lambda i: -work[i].width):
        item = work[position]
        tokens, rows = tokens + item.size, rows + len(item.columns)
        if not groups or (tokens if shared else rows * width) > budget:
            groups.append([])
            tokens, rows = item.size, len(item.columns)
            width = item.width  # the first of a group is its longest
        groups[-1].append(position)
    return groups


# Passes in a process that has no set while others have: token 0 is in every vocabulary.
_TOKEN = np.zeros(1, np.int32)


IDLE = SetSelection(TokenSet("", _TOKEN, (Column(_TOKEN, None, None, "source"),) * 2), (0, 1))


class Scored(NamedTuple):
    """What a pass over some sets gives: [sets, most columns of a set] each.

    Attributes:
        policy: the model's own statistics, with gradient.
        reference: those of the live reference, without gradient; None without one.
        entropy: mean over the tokens of each column, nats, without gradient; None unless wanted.
        tokens: that the model passed.
    """

    policy: Logps
    reference: Logps | None
    entropy: Tensor | None
    tokens: int = 0


def lengths(work: Sequence[SetSelection], device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """`Logps.length` and `Logps.mask` of the wanted columns, without a pass."""
    most = max(len(item.columns) for item in work)
    length = np.zeros((len(work), most), np.int64)
    for i, item in enumerate(work):
        length[i, : len(item.columns)] = [len(ids) for ids in item.completions]
    mask = np.arange(most) < np.array([len(item.columns) for item in work])[:, None]
    return torch.from_numpy(length).to(device), torch.from_numpy(mask).to(device)


Sums = list[npt.NDArray[np.float32]]  # one array a set: the log-prob of each of its columns


def as_logps(work: Sequence[SetSelection], sums: Sums, device: torch.device) -> Logps:
    """`Logps` of the wanted columns from known sums; `sums[i]` belongs to `work[i]`."""
    length, mask = lengths(work, device)
    values = np.concatenate([row[list(item.columns)] for item, row in zip(work, sums, strict=True)])
    flat = torch.from_numpy(values).to(device)
    return Logps(torch.zeros(mask.shape, device=device).masked_scatter(mask, flat), length, mask)


PER_TOKEN = frozenset({"token_kl", "alignment", "head_sum"})  # what a loss may need of a pass besides sums
