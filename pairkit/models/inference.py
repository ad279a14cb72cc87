"""What a forward pass without gradients needs: the device, the precision, batches with little padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

Ids = npt.NDArray[np.int64]
Dtype = Literal["auto", "float32", "bfloat16"]  # auto: bfloat16 on a GPU, float32 elsewhere


def default_device() -> str:
    """Return the device to compute on: the GPU if there is one, otherwise the CPU."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def resolve_precision(dtype: Dtype) -> tuple[torch.dtype, str]:
    """Return the torch dtype that `dtype` means on the default device, and that device."""
    import torch

    device = default_device()
    name = dtype if dtype != "auto" else "bfloat16" if device == "cuda" else "float32"
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name], device


def batches_by_length(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Yield positions in `lengths`, cut so that a padded batch holds at most `batch_tokens` tokens.

    A sequence longer than `batch_tokens` forms a batch by itself. The longest sequences come first, because
    then a run that is going to exhaust memory does so at the start.
    """
    # Stable, so that equal lengths keep their order and a run can be repeated.
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable").tolist()
    start = 0
    while start < len(order):
        rows = max(1, batch_tokens // max(1, lengths[order[start]]))  # the first of a batch is its longest
        yield order[start : start + rows]
        start += rows


def pad_right(rows: Sequence[Ids], padding: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad rows on the right; return ids and mask (1 on tokens, 0 on padding), both `[B, L]`, int64."""
    import torch

    lengths = np.array([len(row) for row in rows])
    mask = np.arange(lengths.max()) < lengths[:, None]
    ids = np.full(mask.shape, padding, dtype=np.int64)
    ids[mask] = np.concatenate(rows)
    return torch.from_numpy(ids), torch.from_numpy(mask.astype(np.int64))
