"""The nouns of a forward pass: which completions to score, how they are grouped, and what comes back.

A loss needs one number per completion, log p(completion | prompt). A `SetSelection` names the completions of
one candidate set that are scored; `micro_batches` groups selections so that each group fits the token budget;
a pass over one group returns `Scored`. This module runs no model, so that the code that plans, counts or
samples can import it without the machine that does.

Shapes: B sets of a pass, K completions of the set that has the most (sets with fewer are masked).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pairkit.losses import Logps
from pairkit.training.tokens.token_set import Column, Ids, TokenSet

PER_TOKEN = frozenset({"token_kl", "alignment", "head_sum"})  # what a loss may need besides summed log-probs
PASS_STATISTICS = PER_TOKEN | {"entropy"}  # what a pass can return besides summed log-probs

# Numbers of each completion, `[B, K]`, by name, whose means are logged of the chosen and of the rejected.
Logged = Mapping[str, Callable[[Logps], Tensor]]
OF_POLICY: Logged = {"logp": lambda policy: policy.sum, "logp_per_token": lambda policy: policy.mean}

Sums = list[npt.NDArray[np.float32]]  # one array per set: the summed log-prob of each completion, nats


class SetSelection(NamedTuple):
    """A candidate set and the indices of the completions to score, in any order, repeats allowed."""

    tokens: TokenSet
    columns: tuple[int, ...]

    @classmethod
    def all(cls, tokens: TokenSet) -> SetSelection:
        """Select every completion of the set, in the set's order."""
        return cls(tokens, tuple(range(len(tokens.columns))))

    @property
    def picked(self) -> list[Column]:
        """The selected completions."""
        return [self.tokens.columns[c] for c in self.columns]

    @property
    def completions(self) -> list[Ids]:
        """Token ids of the selected completions."""
        return [column.ids for column in self.picked]

    @property
    def width(self) -> int:
        """Tokens of the prompt and the longest completion: the width of a padded row."""
        return len(self.tokens.prompt) + max(len(ids) for ids in self.completions)

    @property
    def size(self) -> int:
        """Tokens of the prompt and all selected completions: the set's part of a packed sequence."""
        return len(self.tokens.prompt) + sum(len(ids) for ids in self.completions)


class Scored(NamedTuple):
    """The result of a pass over some sets, `[B, K]` each.

    Attributes:
        policy: statistics of the model being scored, with gradient.
        reference: statistics of the online reference, without gradient; None without one.
        entropy: mean over each completion's tokens, nats, without gradient; None unless requested.
        tokens: how many tokens passed through the model.
    """

    policy: Logps
    reference: Logps | None
    entropy: Tensor | None
    tokens: int = 0


# With sharded weights every process must make the same number of passes, because gathering a layer is a
# collective call. A process that has run out of sets passes this one. Token 0 is in every vocabulary; two
# completions, because losses compare at least two.
_TOKEN = np.zeros(1, np.int32)
IDLE = SetSelection(TokenSet("", _TOKEN, (Column(_TOKEN, None, None, "source"),) * 2), (0, 1))


def micro_batches(work: Sequence[SetSelection], budget: int, *, shared: bool) -> list[list[int]]:
    """Group positions of `work` so that each group passes at most `budget` tokens, longest sets first.

    A set is never divided: its completions share a prompt, and a loss compares them. A set that exceeds the
    budget alone is a group of its own.

    Args:
        shared: whether a set's prompt passes once; otherwise every completion is a padded row.
    """
    groups: list[list[int]] = []
    tokens = rows = width = 0
    # Longest first, because the widest row decides the padding of all rows of its group, and because a run
    # that does not fit into memory then fails in its first micro-batch.
    for position in sorted(range(len(work)), key=lambda i: -work[i].width):
        item = work[position]
        tokens, rows = tokens + item.size, rows + len(item.columns)
        if not groups or (tokens if shared else rows * width) > budget:
            groups.append([])
            tokens, rows = item.size, len(item.columns)
            width = item.width  # the first set of a group is its widest
        groups[-1].append(position)
    return groups


def scored_places(completions: Sequence[Column]) -> npt.NDArray[np.int64] | None:
    """Return where the scored tokens are among these completions, joined, `[T]`; None: all are scored."""
    if all(column.scored is None for column in completions):
        return None
    masks = [np.ones(len(c.ids), np.bool_) if c.scored is None else c.scored for c in completions]
    return np.flatnonzero(np.concatenate(masks))


def scored_ids(completions: Sequence[Column], device: torch.device) -> Tensor:
    """Join the scored ids of completions into one int64 `[T]`."""
    targets = np.concatenate([column.targets for column in completions])
    return torch.from_numpy(targets).long().to(device)  # gather takes int64 only


def sum_tokens(values: Tensor, counts: Tensor) -> Tensor:
    """Sum `values` (`[T]`) over each completion's tokens, float32 `[completions]`.

    Args:
        counts: int64 `[completions]`, how many of the tokens each has, in order.
    """
    owner = torch.repeat_interleave(counts)  # [T], which completion a token belongs to
    # In double until the end, because a float32 sum of a thousand nats loses a ten-thousandth with every
    # token, which is what two sums differ by whose tokens differ by nothing but rounding. index_add adds
    # tokens in their order on a CPU, so that equal passes end in equal bytes.
    zeros = torch.zeros(len(counts), dtype=torch.float64, device=values.device)
    return zeros.index_add(0, owner, values.double()).float()


def lengths(work: Sequence[SetSelection], device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Return `Logps.length` (int64, scored tokens) and `Logps.mask` (bool), `[B, K]` each, without a pass."""
    most = max(len(item.columns) for item in work)
    length = np.zeros((len(work), most), np.int64)
    for i, item in enumerate(work):
        length[i, : len(item.columns)] = [column.length for column in item.picked]
    mask = np.arange(most) < np.array([len(item.columns) for item in work])[:, None]
    return torch.from_numpy(length).to(device), torch.from_numpy(mask).to(device)


def as_logps(work: Sequence[SetSelection], sums: Sums, device: torch.device) -> Logps:
    """Build `Logps` of the selected completions from cached sums; `sums[i]` belongs to `work[i]`."""
    length, mask = lengths(work, device)
    values = np.concatenate([row[list(item.columns)] for item, row in zip(work, sums, strict=True)])
    flat = torch.from_numpy(values).to(device)
    return Logps(torch.zeros(mask.shape, device=device).masked_scatter(mask, flat), length, mask)
