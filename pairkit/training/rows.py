"""Completions as rows: each with its prompt before it, padded on the right to the longest of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pairkit.training.tokens import Ids


class Rows(NamedTuple):
    """Completions as rows padded on the right. Tokens stand row by row, in the order of the text.

    Attributes:
        ids, attention: [rows, width].
        scored: bool [rows, keep - 1], what of the last tokens is a completion's.
        first: bool [rows, keep - 1], which of these are among the first n of their completion.
        keep: positions whose logits are needed: none for what is prompt in every row.
    """

    ids: Tensor
    attention: Tensor
    scored: Tensor
    first: Tensor
    keep: int

    @property
    def targets(self) -> Tensor:
        """[tokens], their ids."""
        return self.ids[:, self.ids.shape[1] - self.keep + 1 :][self.scored]

    @property
    def owner(self) -> Tensor:
        """[tokens], the row of each."""
        return self.scored.nonzero()[:, 0]

    def inputs(self) -> dict[str, Any]:
        """What the model is called with."""
        return {
            "input_ids": self.ids,
            "attention_mask": self.attention,
            "use_cache": False,
            "logits_to_keep": self.keep,
        }

    def part(self, at: slice) -> Rows:
        """Some of the rows."""
        ids, attention, scored, first, keep = self
        return Rows(ids[at], attention[at], scored[at], first[at], keep)


def padded(texts: Sequence[tuple[Ids, Ids, int]], device: torch.device) -> Rows:
    """The rows of (prompt, completion, n)."""
    width = max(len(prompt) + len(completion) for prompt, completion, _ in texts)
    ids = torch.zeros(len(texts), width, dtype=torch.int64)
    attention = torch.zeros(len(texts), width, dtype=torch.int64)
    scored = torch.zeros(len(texts), width, dtype=torch.bool)
    first = torch.zeros(len(texts), width, dtype=torch.bool)
    for row, (prompt, completion, count) in enumerate(texts):
        start, end = len(prompt), len(prompt) + len(completion)
        ids[row, :start] = torch.from_numpy(prompt)
        ids[row, start:end] = torch.from_numpy(completion)
        attention[row, :end] = 1
        scored[row, start:end] = True
        first[row, start : min(start + count, end)] = True
    shortest = min(len(prompt) for prompt, _, _ in texts)
    return Rows(
        ids.to(device),
        attention.to(device),
        scored[:, shortest:].to(device),
        first[:, shortest:].to(device),
        width - shortest + 1,
    )
