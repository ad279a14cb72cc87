"""The mask of a packed sequence for flex_attention: which keys each token sees, in blocks of `SIZE`.

torch's `create_block_mask` asks for every token and every key, `[N, M]` of them. Compiled, it makes no such
tensor, but compiling takes seconds and is repeated for other windows and kinds of sequences, until dynamo
gives up after eight. In a packed sequence a token sees at most two ranges of keys, in its prompt and in its
own text, and from their ends the blocks are counted in O(N).

Shapes: N tokens, M keys, I = ceil(N / SIZE) and J = ceil(M / SIZE) blocks of them.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask

SIZE = 128  # tokens and keys of a block: what the kernel is tuned for
Numbers = npt.NDArray[np.int64]


class Ranges(NamedTuple):
    """The keys from `start` to `stop` that each token sees, `[N]` each; none where they are equal."""

    start: Numbers
    stop: Numbers


def runs(keys: Numbers, count: int) -> Ranges:
    """Return the range of indices at which each number from 0 to `count` - 1 is in `keys`.

    Args:
        keys: numbers in runs, each number in one run only; negative ones are in none.
    """
    sizes = np.bincount(keys[keys >= 0], minlength=count)
    start = np.zeros(count, np.int64)
    # Backwards, so that the first index of a number is the one that stays.
    index = np.flatnonzero(keys >= 0)[::-1]
    start[keys[index]] = index
    return Ranges(start, start + sizes)


def block_mask(ranges: tuple[Ranges, ...], key_count: int, device: torch.device) -> BlockMask:
    """Make the mask of tokens that see these ranges of `key_count` keys; no two ranges of a token overlap."""
    count = len(ranges[0].start)
    rows, columns = -(-count // SIZE), -(-key_count // SIZE)  # I, J
    row = np.arange(count) // SIZE
    before = partial(_before, row, rows, columns)
    parts = [before(one.stop) - before(one.start) for one in ranges]
    counts: Numbers = np.sum(parts, axis=0)  # [I, J], pairs
    whole = counts == SIZE * SIZE  # of these blocks the kernel does not ask the mask
    (prompt_start, prompt_stop), (own_start, own_stop) = (
        (torch.from_numpy(ends.astype(np.int32)).to(device) for ends in one) for one in ranges
    )

    def sees(batch: Tensor, head: Tensor, token: Tensor, key: Tensor) -> Tensor:
        # Scalars: one pair of a token and a key at a time, as flex_attention calls it.
        in_prompt = (key >= prompt_start[token]) & (key < prompt_stop[token])
        return in_prompt | ((key >= own_start[token]) & (key < own_stop[token]))

    mask: Any = BlockMask.from_kv_blocks(
        *_listed((counts > 0) & ~whole), *_listed(whole), BLOCK_SIZE=SIZE, mask_mod=sees,
        seq_lengths=(count, key_count),
    )  # fmt: skip
    moved: BlockMask = mask.to(device)
    return moved


def _before(row: Numbers, rows: int, columns: int, ends: Numbers) -> Numbers:
    """Count the pairs of a token and a key before the token's end, by blocks, `[I, J]`.

    A token with its end in block b has all keys of the blocks before b, and the first ones of b.
    """
    at = row * (columns + 1) + ends // SIZE
    shape, size = (rows, columns + 1), rows * (columns + 1)
    in_block = np.bincount(at, minlength=size).reshape(shape)  # tokens
    later = in_block[:, ::-1].cumsum(axis=1)[:, ::-1] - in_block  # tokens with their end in a later block
    rest = np.bincount(at, ends % SIZE, size).astype(np.int64).reshape(shape)
    counts: Numbers = (SIZE * later + rest)[:, :-1]
    return counts


def _listed(blocks: npt.NDArray[np.bool_]) -> tuple[Tensor, Tensor]:
    """Return, per row of blocks `[I, J]`, how many are set, and the indices of all with those in front.

    int32 `[1, 1, I]` and `[1, 1, I, J]`: flex_attention expects a batch and a head.
    """
    order = np.argsort(~blocks, axis=-1, kind="stable")
    numbers = (blocks.sum(axis=-1), order)
    count, index = (torch.from_numpy(values.astype(np.int32))[None, None] for values in numbers)
    return count, index
