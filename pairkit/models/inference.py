"""Batches of token sequences of about one length, so that little of a batch is padding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

Ids = npt.NDArray[np.int64]


def batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Positions in `lengths`, longest first, cut so that a padded batch has at most `batch_tokens` tokens.

    One that alone is longer has a batch of its own. The longest come first: running out of memory shows at
    the start.
    """
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable").tolist()
    start = 0
    while start < len(order):
        rows = max(1, batch_tokens // max(1, lengths[order[start]]))
        yield order[start : start + rows]
        start += rows


def padded(rows: Sequence[Ids], padding: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows padded on the right to the longest, and their mask (1 on tokens, 0 elsewhere): `[B, L]`, int64."""
    import torch

    lengths = np.array([len(row) for row in rows])
    mask = np.arange(lengths.max()) < lengths[:, None]
    ids = np.full(mask.shape, padding, dtype=np.int64)
    ids[mask] = np.concatenate(rows)
    return torch.from_numpy(ids), torch.from_numpy(mask.astype(np.int64))


Dtype = Literal["auto", "float32", "bfloat16"]  # auto: bfloat16 on a GPU, float32 elsewhere


def choose(dtype: Dtype) -> tuple[torch.dtype, str]:
    """The precision, and the device: the GPU where there is one."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = dtype if dtype != "auto" else "bfloat16" if device == "cuda" else "float32"
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name], device
