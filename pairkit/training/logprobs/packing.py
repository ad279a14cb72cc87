"""Candidate sets as one sequence: each prompt once, its completions behind it, nothing padded.

The positions of a completion go on from its prompt's, and it attends to that prompt and to itself. Attention
takes the sequence in pieces: a prompt, a completion (which sees the piece of its prompt), or a block of small
sets with a mask of their own, since a call costs more than what such a mask hides.

More completions of the same prompts can follow in a sequence of their own, on the prompts' keys and values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask

from pairkit.training.logprobs.padding import Feed
from pairkit.training.tokens.sets import Ids

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

    def then(self, others: Tokens) -> Tokens:
        """These, and others behind them."""
        return Tokens(*(np.concatenate(values) for values in zip(self, others, strict=True)))


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
    """The layout of a sequence.

    Attributes:
        homes: for each set, the piece that holds its prompt, of `before` where there is one.
        before: the sequence of the prompts, where these are completions alone.
        kept: keys and values of every layer, for completions that follow; None where none will.
        biases, masks: what attention adds to its scores, for all layers of a pass.
    """

    tokens: Tokens
    pieces: list[Piece]
    homes: list[int]
    device: torch.device
    before: Packed | None = None
    kept: dict[int, tuple[Tensor, Tensor]] | None = None
    biases: dict[tuple[int, int | None, torch.dtype], Tensor | None] = field(default_factory=dict)
    masks: dict[int | None, BlockMask] = field(default_factory=dict)

    def bias(self, piece: Piece, window: int | None, dtype: torch.dtype) -> Tensor | None:
        """[tokens, keys], 0 or -inf; the keys are those of the piece that it sees, if any, and its own.

        None where the piece is causal and nothing else.
        """
        if window is not None and window > self.tokens.position[: piece.stop].max():
            window = None
        key = piece.start, window, dtype
        if key not in self.biases:
            self.biases[key] = self._bias(piece, window, dtype)
        return self.biases[key]

    def block_mask(self, window: int | None) -> BlockMask:
        """The same for flex_attention: blocks of tokens, of which those that nothing sees are skipped.

        The keys are those of `before`, if any, and then the sequence's own.
        """
        if window not in self.masks:
            keys = self.tokens if self.before is None else self.before.tokens.then(self.tokens)
            owner, part, position = (torch.from_numpy(values).to(self.device) for values in self.tokens)
            k_owner, k_part, k_position = (torch.from_numpy(values).to(self.device) for values in keys)

            def sees(batch: Tensor, head: Tensor, token: Tensor, key: Tensor) -> Tensor:
                behind = position[token] - k_position[key]
                seen = (owner[token] == k_owner[key]) & (behind >= 0)
                seen = seen & ((k_part[key] == PROMPT) | (k_part[key] == part[token]))
                return seen if window is None else seen & (behind < window)

            make = torch.compile(create_block_mask) if self.device.type == "cuda" else create_block_mask
            counts = len(position), len(k_position)
            self.masks[window] = make(sees, None, None, *counts, device=self.device)
        return self.masks[window]

    def _bias(self, piece: Piece, window: int | None, dtype: torch.dtype) -> Tensor | None:
        tokens = keys = self.tokens.at(piece.start, piece.stop)
        if piece.sees is not None:
            prompts = self.before or self
            home = prompts.pieces[piece.sees]
            keys = prompts.tokens.at(home.start, home.stop).then(tokens)
        seen = tokens.sees(keys, window)
        if seen.shape[0] == seen.shape[1] and (seen == np.tri(len(seen), dtype=bool)).all():
            return None
        bias = torch.zeros(seen.shape, dtype=dtype).masked_fill_(torch.from_numpy(~seen), float("-inf"))
        return bias.to(self.device)


def pack(wanted: Sequence[Wanted], device: torch.device, *, keep: bool = False) -> tuple[Feed, Packed]:
    """One sequence of some sets; completions' tokens stand in the order that they are given in.

    Args:
        keep: whether other completions of these sets will follow, with `behind`.
    """
    texts = [ids for prompt, completions in wanted for ids in (prompt, *completions)]
    counts = np.array([1 + len(completions) for _, completions in wanted])
    parts = np.arange(len(texts))
    parts[np.cumsum(counts) - counts] = PROMPT
    prompts = np.array([len(prompt) for prompt, _ in wanted])
    offsets = np.where(parts == PROMPT, 0, np.repeat(prompts, counts))
    tokens = _tokens(texts, np.repeat(np.arange(len(wanted)), counts), parts, offsets)
    sizes = np.bincount(tokens.owner)
    lasts = np.cumsum(sizes) - sizes + prompts - 1  # of each prompt
    at = np.flatnonzero(tokens.part != PROMPT)
    first = tokens.position[at] == prompts[tokens.owner[at]]
    states = np.where(first, lasts[tokens.owner[at]], at - 1)
    pieces, homes = _pieces(wanted)
    packed = Packed(tokens, pieces, homes, device, kept={} if keep else None)
    return _feed(texts, tokens, states, device), packed


def behind(before: Packed, completions: Sequence[Sequence[Ids]]) -> tuple[Feed, Packed]:
    """Completions of the sets of a sequence that was packed to be kept, none or more a set.

    `Feed.at` counts the sets first: state i is that of the last token of set i's prompt.
    """
    texts = [ids for some in completions for ids in some]
    owners = np.repeat(np.arange(len(completions)), [len(some) for some in completions])
    prompts = np.bincount(before.tokens.owner, before.tokens.part == PROMPT).astype(np.int64)
    parts = np.arange(len(texts)) + before.tokens.part.max() + 1
    tokens = _tokens(texts, owners, parts, prompts[owners])
    first = tokens.position == prompts[tokens.owner]
    states = np.where(first, tokens.owner, np.arange(len(first)) - 1 + len(completions))
    shared = Counter(before.homes)
    pieces: list[Piece] = []
    stop = 0
    for owner, ids in zip(owners, texts, strict=True):
        home, start = before.homes[owner], stop
        stop += len(ids)
        if shared[home] > 1 and pieces and pieces[-1].sees == home:  # small sets share a piece here too
            start = pieces.pop().start
        pieces.append(Piece(start, stop, home))
    return _feed(texts, tokens, states, before.device), Packed(
        tokens, pieces, before.homes, before.device, before
    )


def _tokens(
    texts: Sequence[Ids],
    owners: npt.NDArray[np.int64],
    parts: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int64],
) -> Tokens:
    sizes = np.array([len(ids) for ids in texts])
    inside = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    owner, part, offset = (np.repeat(values.astype(np.int32), sizes) for values in (owners, parts, offsets))
    return Tokens(owner, part, inside.astype(np.int32) + offset)


def _feed(texts: Sequence[Ids], tokens: Tokens, states: npt.NDArray[np.int64], device: torch.device) -> Feed:
    inputs = {
        "input_ids": torch.from_numpy(np.concatenate(texts)).long()[None].to(device),
        "position_ids": torch.from_numpy(tokens.position).long()[None].to(device),
        "use_cache": False,
    }
    return Feed(inputs, torch.from_numpy(states).to(device))


def _pieces(wanted: Sequence[Wanted]) -> tuple[list[Piece], list[int]]:
    """The pieces of a sequence, and for each set the piece that holds its prompt."""
    pieces: list[Piece] = []
    homes: list[int] = []
    start = stop = 0  # of the block of small sets under way
    for prompt, completions in wanted:
        size = len(prompt) + sum(len(ids) for ids in completions)
        if start < stop and stop + size - start > BLOCK:
            pieces.append(Piece(start, stop))
            start = stop
        homes.append(len(pieces))
        if size <= BLOCK:
            stop += size
            continue
        stop += len(prompt)
        pieces.append(Piece(start, stop))
        for ids in completions:
            pieces.append(Piece(stop, stop + len(ids), homes[-1]))
            stop += len(ids)
        start = stop
    if start < stop:
        pieces.append(Piece(start, stop))
    return pieces, homes
