"""LoRA: adapters are trained; the base model is frozen and serves as the reference."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Literal, cast

import torch
from pydantic import Field
from torch import nn

from pairkit.errors import ModelError, RecipeError
from pairkit.models.adapters import quiet_peft
from pairkit.models.multimodal import outside_text
from pairkit.models.resolve import Place
from pairkit.recipes import Strict


class Lora(Strict):
    """Settings of LoRA (Hu et al. 2021, arXiv 2106.09685).

    There is no dropout, because two passes over one text have to agree.
    """

    r: int = Field(default=16, ge=1)  # rank
    alpha: float = Field(default=32, gt=0)  # the adapters' output is multiplied by alpha / r
    targets: str | list[str] = "all-linear"  # names of modules; "all-linear" = all but the output head
    base: Literal["nf4"] | None = None  # QLoRA, arXiv 2305.14314: base model in 4 bits (bitsandbytes)
    merge: bool = False  # save a whole model, with the adapters merged into its weights
    continue_adapters: bool = False  # train the adapters that --model is a directory of, not fresh ones


def check_base(name: str, place: Place, lora: Lora | None) -> None:
    """Refuse a model of adapters, or one without, that the settings do not fit. Raises `RecipeError`."""
    if lora is None:
        return
    if lora.continue_adapters:
        if not place.adapters:
            raise RecipeError(
                f"lora.continue_adapters=true, but the model {name!r} is a whole model; set it to false, or "
                "pass a directory of adapters with --model"
            )
        # Those of the adapters hold, so that a recipe must not seem to set them.
        if fixed := sorted(lora.model_fields_set - {"base", "merge", "continue_adapters"}):
            raise RecipeError(
                f"lora.{fixed[0]} is that of the adapters {name!r}, which are continued; leave it out, or "
                "set lora.continue_adapters=false for fresh adapters"
            )
    elif place.adapters and not lora.merge:
        raise RecipeError(
            f"the model {name!r} consists of adapters, and fresh ones over them would fit to no saved model; "
            "set lora.continue_adapters=true to train those further, or lora.merge=true to save a whole model"
        )


def with_adapters(model: nn.Module, lora: Lora, seed: int) -> nn.Module:
    """Add fresh adapters, which alone are trained; they do not change the output yet.

    Raises:
        RecipeError: peft is not installed.
        ModelError: no module matches a target.
    """
    try:
        import peft
    except ImportError as error:
        raise RecipeError("lora needs peft: pip install 'pairkit[lora]'") from error
    torch.manual_seed(seed)
    config = peft.LoraConfig(
        r=lora.r, lora_alpha=cast("int", lora.alpha), target_modules=lora.targets, task_type="CAUSAL_LM",
        # Only the text part, whatever the names of other parts' modules.
        exclude_modules=outside_text(model),
    )  # fmt: skip
    try:
        with quiet_peft():
            return cast("nn.Module", peft.get_peft_model(cast("Any", model), config))
    except ValueError as error:  # its message lists the targets
        raise ModelError(f"lora.targets {lora.targets!r}: {error}") from error


def four_bits(compute: torch.dtype) -> Any:
    """Configure transformers to load a model in NF4 with double quantization, computing in `compute`.

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


def without_packing(model: nn.Module) -> nn.Module:
    """Keep bitsandbytes from packing four-bit weights, as it does on a CPU with bfloat16 instructions.

    A pass without gradient would pack them for good, and because packed weights have no backward, no gradient
    would reach the adapters below them. Their products would also be in bfloat16, whatever the recipe sets.
    """
    for layer in cast("Any", model).modules():
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False
    return model


class AdaptersOff(nn.Module):
    """The base model below the adapters as an online reference, without a second copy of its weights."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, **inputs: Any) -> Any:
        with self.model.disable_adapter():  # type: ignore[operator]
            return self.model(**inputs)
