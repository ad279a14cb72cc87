"""Where a ranker's model runs, and in which precision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Dtype = Literal["auto", "float32", "bfloat16"]  # auto: bfloat16 on a GPU, float32 elsewhere


def choose(dtype: Dtype) -> tuple[torch.dtype, str]:
    """The precision, and the device: the GPU where there is one."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = dtype if dtype != "auto" else "bfloat16" if device == "cuda" else "float32"
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name], device
