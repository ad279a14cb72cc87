"""The cache with room holds what transformers' own does, whatever is appended, dropped and repeated."""

from __future__ import annotations

import pytest
import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from pairkit.engines import kv_cache


def states(rows: int, tokens: int, width: int = 5) -> torch.Tensor:
    return torch.randn(rows, 2, tokens, width)


def filled(rows: int = 3, tokens: int = 4) -> tuple[DynamicCache, torch.Tensor, torch.Tensor]:
    keys, values = states(rows, tokens), states(rows, tokens, width=7)
    cache = DynamicCache()
    cache.update(keys, values, 0)
    return cache, keys, values


@pytest.mark.parametrize("room", [1, 3, 128])
def test_it_holds_what_the_concatenated_cache_holds(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kv_cache, "ROOM", room)
    torch.manual_seed(0)
    theirs, keys, values = filled()
    ours = DynamicCache()
    ours.update(keys.clone(), values.clone(), 0)
    ours = kv_cache.with_room(ours)
    rows = 3
    for step, order in enumerate(([0, 0, 1, 2, 2], None, [4, 1, 0], None, None, [2], None, [0, 0])):
        if order is not None:
            rows = len(order)
            for cache in (theirs, ours):
                cache.reorder_cache(torch.tensor(order))
        new = 5 if step == 3 else 1  # once more than there is room for
        appended = states(rows, new), states(rows, new, width=7)
        for expected, got in zip(theirs.update(*appended, 0), ours.update(*appended, 0), strict=True):
            assert torch.equal(expected, got)
        assert theirs.get_seq_length() == ours.get_seq_length()


def test_a_token_is_written_without_copying_the_others() -> None:
    ours = kv_cache.with_room(filled()[0])
    before = ours.update(states(3, 1), states(3, 1, width=7), 0)
    after = ours.update(states(3, 1), states(3, 1, width=7), 0)
    assert [old.data_ptr() for old in before] == [new.data_ptr() for new in after]


def test_layers_with_a_window_or_without_tokens_stay() -> None:
    cache = DynamicCache()
    window, empty, whole = DynamicSlidingWindowLayer(sliding_window=3), DynamicLayer(), DynamicLayer()
    window.update(states(1, 4), states(1, 4))
    whole.update(states(1, 4), states(1, 4))
    cache.layers = [window, empty, whole]
    assert kv_cache.with_room(cache).layers[:2] == [window, empty]
    assert isinstance(cache.layers[2], kv_cache.RoomyLayer)
