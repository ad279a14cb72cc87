"""Candidate sets as one sequence: each prompt once, its completions behind it, nothing padded.

The positions of a completion go on from its prompt's, and it attends to that prompt and to itself. Attention
takes the sequence in pieces: a prompt, a completion (which sees the piece of its prompt), or a block of small
sets with a mask of their own, since a call costs more than what such a mask hides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask

from pairkit.training.rows import Feed
from pairkit.training.tokens import Ids

BLOCK = 256  # tokens of small sets that attend in one call
PROMPT = -1

Wanted = tuple[Ids, Sequence[Ids]]  # a prompt, and completions of it


class Tokens(NamedTuple):
    """What decides who sees whom, one entry a token.

    Attributes:
        owner: the set.
        part: the completion, counted over the whole sequence; `PROMPT` for tokens of a prompt.
        position: in the text, from 0.
    """

    owner: npt.NDArray[np.int32]
    part: npt.NDArray[np.int32]
    position: npt.NDArray[np.int32]

    def sees(self, others: Tokens, window: int | None) -> npt.NDArray[np.bool_]:
        """[tokens, others]: which of the others each token attends to.

        A window is counted in positions of the text, as a model counts it that has one completion before it.
        """
        behind = self.position[:, None] - others.position
        seen: npt.NDArray[np.bool_] = (self.owner[:, None] == others.owner) & (behind >= 0)
        seen &= (others.part == PROMPT) | (others.part == self.part[:, None])
        return seen if window is None else seen & (behind < window)

    def at(self, start: int, stop: int) -> Tokens:
        """Some of the tokens."""
        return Tokens(*(values[start:stop] for values in self))


class Piece(NamedTuple):
    """Tokens that attend in one call; `sees` is the piece of their prompt where that is another one."""

    start: int
    stop: int
    sees: int | None = None

    @property
    def size(self) -> int:
        """Tokens of the piece."""
        return self.stop - self.start


@dataclass(eq=False)
class Packed:
    """The layout of a sequence; `biases` and `masks` are kept for all layers of a pass."""

    tokens: Tokens
    pieces: list[Piece]
    device: torch.device
    biases: dict[tuple[int, int | None, torch.dtype], Tensor | None] = field(default_factory=dict)
    masks: dict[int | None, BlockMask] = field(default_factory=dict)

    def keys(self, piece: Piece) -> tuple[Piece, ...]:
        """The pieces that this one sees, in the order of the text."""
        return (piece,) if piece.sees is None else (self.pieces[piece.sees], piece)

    def bias(self, piece: Piece, window: int | None, dtype: torch.dtype) -> Tensor | None:
        """[tokens, keys], 0 or -inf; None where the piece is causal and nothing else."""
        if window is not None and window > self.tokens.position[: piece.stop].max():
            window = None
        key = piece.start, window, dtype
        if key not in self.biases:
            self.biases[key] = self._bias(piece, window, dtype)
        return self.biases[key]

    def block_mask(self, window: int | None) -> BlockMask:
        """The same for flex_attention: blocks of tokens, of which those that nothing sees are skipped."""
        if window not in self.masks:
            owner, part, position = (torch.from_numpy(values).to(self.device) for values in self.tokens)

            def sees(batch: Tensor, head: Tensor, token: Tensor, other: Tensor) -> Tensor:
                behind = position[token] - position[other]
                seen = (owner[token] == owner[other]) & (behind >= 0)
                seen = seen & ((part[other] == PROMPT) | (part[other] == part[token]))
                return seen if window is None else seen & (behind < window)

            count = len(position)
            make = torch.compile(create_block_mask) if self.device.type == "cuda" else create_block_mask
            self.masks[window] = make(sees, None, None, count, count, device=self.device)
        return self.masks[window]

    def _bias(self, piece: Piece, window: int | None, dtype: torch.dtype) -> Tensor | None:
        tokens = self.tokens.at(piece.start, piece.stop)
        others = [self.tokens.at(one.start, one.stop) for one in self.keys(piece)]
        seen = tokens.sees(Tokens(*(np.concatenate(parts) for parts in zip(*others, strict=True))), window)
        if seen.shape[0] == seen.shape[1] and (seen == np.tri(len(seen), dtype=bool)).all():
            return None
        bias = torch.zeros(seen.shape, dtype=dtype).masked_fill_(torch.from_numpy(~seen), float("-inf"))
        return bias.to(self.device)


def pack(wanted: Sequence[Wanted], device: torch.device) -> tuple[Feed, Packed]:
    """One sequence of some sets; the completions' tokens stand in the order that they are given in."""
    texts = [ids for prompt, completions in wanted for ids in (prompt, *completions)]
    sizes = np.array([len(ids) for ids in texts])
    starts = np.cumsum(sizes) - sizes
    offsets: list[int] = []
    owners: list[int] = []
    parts: list[int] = []
    predictors: list[npt.ArrayLike] = []
    for i, (prompt, completions) in enumerate(wanted):
        first = len(offsets)
        offsets += [0] + [len(prompt)] * len(completions)
        owners += [i] * (1 + len(completions))
        parts += [PROMPT, *range(len(parts), len(parts) + len(completions))]
        last = starts[first] + len(prompt) - 1
        for at, ids in enumerate(completions, first + 1):
            predictors += [[last], np.arange(len(ids) - 1) + starts[at]]

    def each(values: Sequence[int]) -> npt.NDArray[np.int32]:
        return np.repeat(np.array(values, np.int32), sizes)

    inside = (np.arange(sizes.sum()) - np.repeat(starts, sizes)).astype(np.int32)
    tokens = Tokens(each(owners), each(parts), inside + each(offsets))
    inputs = {
        "input_ids": torch.from_numpy(np.concatenate(texts)).long()[None].to(device),
        "position_ids": torch.from_numpy(tokens.position).long()[None].to(device),
        "use_cache": False,
    }
    states = torch.from_numpy(np.concatenate(predictors).astype(np.int64)).to(device)
    return Feed(inputs, states), Packed(tokens, list(_pieces(wanted)), device)


def _pieces(wanted: Sequence[Wanted]) -> Iterator[Piece]:
    start = stop = count = 0  # of the block of small sets under way
    for prompt, completions in wanted:
        size = len(prompt) + sum(len(ids) for ids in completions)
        if stop + size - start > BLOCK and stop > start:
            yield Piece(start, stop)
            start, count = stop, count + 1
        if size <= BLOCK:
            stop += size
            continue
        prompt_piece, stop = count, start + len(prompt)
        yield Piece(start, stop)
        for ids in completions:
            yield Piece(stop, stop + len(ids), prompt_piece)
            stop += len(ids)
        start, count = stop, count + 1 + len(completions)
    if stop > start:
        yield Piece(start, stop)
