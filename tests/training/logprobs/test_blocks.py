"""The mask of a packed sequence for flex_attention equals torch's own of the same rule."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.attention.flex_attention import create_block_mask, create_mask

from pairkit.training.logprobs.packing import Packed, pack, pack_after

CPU = torch.device("cpu")
LISTS = (
    "kv_num_blocks", "kv_indices", "full_kv_num_blocks", "full_kv_indices",
    "q_num_blocks", "q_indices", "full_q_num_blocks", "full_q_indices",
)  # fmt: skip
# Tokens of prompts and completions, and of completions that follow: within a block, and over several.
SHORT = ([(3, 2, 4), (2, 5), (1, 1, 1)], [(2,), (), (1, 3)])
LONG = ([(300, 140, 20), (40, 30), (130, 260)], [(150,), (7, 200), ()])


def sequences(sizes: list[tuple[int, ...]], more: list[tuple[int, ...]]) -> list[tuple[Packed, Any]]:
    """Pack sets and completions that follow; with each, the keys that it may see."""

    def ids(count: int) -> Any:
        return np.zeros(count, np.int32)

    sets = [(ids(prompt), [ids(n) for n in completions]) for prompt, *completions in sizes]
    _, packed = pack(sets, CPU, cache=True)
    _, later = pack_after(packed, [[ids(n) for n in completions] for completions in more])
    return [(packed, packed.tokens), (later, packed.tokens.concatenate(later.tokens))]


@pytest.mark.parametrize("sizes", [SHORT, LONG], ids=["short", "long"])
@pytest.mark.parametrize("window", [None, 1, 100])
def test_the_mask_is_that_of_the_layout_in_all_lists_of_blocks(sizes: Any, window: int | None) -> None:
    for packed, keys in sequences(*sizes):
        seen = torch.from_numpy(packed.tokens.sees(keys, window))  # [N, M]
        found = packed.block_mask(window)
        assert torch.equal(create_mask(found.mask_mod, 1, 1, *seen.shape, "cpu")[0, 0], seen)

        def same(batch: Any, head: Any, token: Any, key: Any, seen: torch.Tensor = seen) -> torch.Tensor:
            return seen[token, key]

        expected = create_block_mask(same, None, None, *seen.shape, device="cpu")
        assert found.seq_lengths == expected.seq_lengths
        assert found.BLOCK_SIZE == expected.BLOCK_SIZE
        for name in LISTS:
            one, other = getattr(found, name), getattr(expected, name)
            assert one.dtype == other.dtype
            assert torch.equal(one, other), name
