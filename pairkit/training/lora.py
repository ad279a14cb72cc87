"""LoRA: adapters are trained, the model that they stand on is the reference and stays as it is."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from typing import Any, Literal, cast

import torch
from pydantic import Field
from torch import nn

from pairkit.errors import ModelError, RecipeError
from pairkit.recipes import Strict


class Lora(Strict):
    """Hu et al. 2021, arXiv 2106.09685. No dropout: two passes over one text have to agree."""

    r: int = Field(default=16, ge=1)  # rank
    alpha: float = Field(default=32, gt=0)  # the adapters' output is multiplied by alpha / r
    targets: str | list[str] = "all-linear"  # names of modules; "all-linear" = all but the output head
    base: Literal["nf4"] | None = None  # QLoRA, arXiv 2305.14314: the model below in 4 bits (bitsandbytes)
    merge: bool = False  # whether the saved model is a whole one, with the adapters in its weights


def with_adapters(model: nn.Module, lora: Lora, seed: int) -> nn.Module:
    """The model with fresh adapters, which alone are trained; they change nothing yet.

    Raises:
        RecipeError: peft is not installed.
        ModelError: no module has the name of a target.
    """
    try:
        import peft
    except ImportError as error:
        raise RecipeError("lora needs peft: pip install 'pairkit[lora]'") from error
    torch.manual_seed(seed)
    config = peft.LoraConfig(
        r=lora.r, lora_alpha=cast("int", lora.alpha), target_modules=lora.targets, task_type="CAUSAL_LM"
    )
    try:
        with warnings.catch_warnings(category=FutureWarning, action="ignore"):  # peft's, of transformers 5
            return cast("nn.Module", peft.get_peft_model(cast("Any", model), config))
    except ValueError as error:  # peft lists what it looked for
        raise ModelError(f"lora.targets {lora.targets!r}: {error}") from error


def four_bits(compute: torch.dtype) -> Any:
    """How transformers is asked for a model in NF4, its constants quantized again, computing in `compute`.

    Raises:
        RecipeError: bitsandbytes is not installed.
    """
    if find_spec("bitsandbytes") is None:
        raise RecipeError("lora.base=nf4 needs bitsandbytes: pip install 'pairkit[qlora]'")
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute,
    )


class AdaptersOff(nn.Module):
    """The model below the adapters, without a second copy of its weights: a live reference."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, **inputs: Any) -> Any:
        with self.model.disable_adapter():  # type: ignore[operator]
            return self.model(**inputs)


def merged(model: nn.Module) -> nn.Module:
    """The model with its adapters in its weights."""
    return cast("nn.Module", model.merge_and_unload())  # type: ignore[operator]
