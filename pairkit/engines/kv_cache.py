"""A key-value cache with room for the tokens to come.

transformers concatenates its cache with each new token, which copies all keys and values in every step. Here
they lie in longer buffers, and a new token is written into the free space.

Shapes: R rows, H heads of keys and values, T tokens so far, C tokens of a buffer, D values per head.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import DynamicLayer

# Tokens by which a buffer is at most longer than what it is made of: the memory that may stay unused per row.
ROOM = 128


def with_room(cache: Any, tokens: int = ROOM) -> Any:
    """Replace the layers of a filled cache that hold all tokens; those with a window or a state stay.

    Args:
        tokens: how many tokens will come at most.
    """
    cache.layers = [_roomy(layer, min(tokens, ROOM)) for layer in cache.layers]
    return cache


def _roomy(layer: Any, room: int) -> Any:
    # Exactly this type, because its subclasses store more than keys and values.
    if type(layer) is not DynamicLayer or not layer.is_initialized:
        return layer
    return RoomyLayer(layer.keys, layer.values, room)


class RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """The keys and values of a layer, both `[R, H, T, D]`: the first T tokens of buffers `[R, H, C, D]`."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, room: int = ROOM) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self._buffers = [_longer(keys, room), _longer(values, room)]
        self._show(keys.shape[-2])

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write keys and values of new tokens, `[R, H, new, D]`, after the others, and return all."""
        start, new = self.keys.shape[-2], key_states.shape[-2]
        if start + new > self._buffers[0].shape[-2]:
            self._buffers = [_longer(states, new + ROOM) for states in (self.keys, self.values)]
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[..., start : start + new, :] = states
        self._show(start + new)
        return self.keys, self.values

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Reorder, drop or repeat rows; `beam_idx` is int64 `[rows]`."""
        length = self.keys.shape[-2]
        self._buffers = [_taken(buffer, beam_idx, length) for buffer in self._buffers]
        self._show(length)

    def _show(self, length: int) -> None:
        """Let `keys` and `values` be the first tokens of the buffers."""
        self.keys, self.values = (buffer[..., :length, :] for buffer in self._buffers)


def _longer(states: torch.Tensor, room: int) -> torch.Tensor:
    """Copy `[R, H, T, D]` into a buffer with room for more tokens, whose values are undefined."""
    rows, heads, length, width = states.shape
    buffer = states.new_empty(rows, heads, length + room, width)
    buffer[..., :length, :] = states
    return buffer


def _taken(buffer: torch.Tensor, rows: torch.Tensor, length: int) -> torch.Tensor:
    """Copy the first `length` tokens of some rows of a buffer into one that is as long."""
    taken = buffer.new_empty(len(rows), *buffer.shape[1:])
    torch.index_select(buffer[..., :length, :], 0, rows, out=taken[..., :length, :])
    return taken
