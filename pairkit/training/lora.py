"""LoRA: adapters are trained; the base model is frozen and serves as the reference."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, Literal, cast

import torch
from pydantic import ConfigDict, Field, model_validator
from torch import nn

from pairkit.errors import ModelError, RecipeError, unknown
from pairkit.models.adapters import quiet_peft
from pairkit.models.multimodal import outside_text
from pairkit.models.plain_linear import not_plain
from pairkit.models.resolve import Place
from pairkit.recipes import Strict

# Fields of `peft.LoraConfig` that are not passed through, and why.
REFUSED = {
    "lora_dropout": "there is no dropout, because two passes over one text have to agree",
    "lora_alpha": "write lora.alpha",
    "target_modules": "write lora.targets",
    "bias": "with biases of the base model trained, it would not be the reference with its adapters off",
    "layer_replication": "a model with other layers is not the reference with its adapters off",
    "alora_invocation_tokens": "several texts pass as one sequence, in which it would find the wrong tokens",
    **dict.fromkeys(
        ("eva_config", "corda_config", "lora_ga_config", "loftq_config"),
        "pairkit makes no passes over data before training, which this initialization needs",
    ),
    **dict.fromkeys(
        ("megatron_config", "megatron_core"), "peft would import a module that a recipe names"
    ),
    **dict.fromkeys(
        ("task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision",
         "inference_mode", "runtime_config"),
        "pairkit sets it",
    ),
}  # fmt: skip
NEUTRAL = {"lora_dropout": 0, "bias": "none"}  # what they may be, because it is what they are
ALL_LINEAR = "all-linear"
# Both split the base weights: pissa by their singular values, olora by a QR decomposition.
CHANGE_BASE = ("pissa", "olora")
STARTS = ("true", "gaussian", "orthogonal", "pissa", "pissa_niter_N", "olora")  # of `init_lora_weights`


class Lora(Strict):
    """Settings of LoRA (Hu et al. 2021, arXiv 2106.09685), and any other field of `peft.LoraConfig`.

    There is no dropout, because two passes over one text have to agree.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    r: int = Field(default=16, ge=1, le=65_536)  # rank
    alpha: float = Field(default=32, gt=0)  # the adapters' output is multiplied by alpha / r
    # names of modules; "all-linear" = all linear layers but the output head and routers that are none
    targets: str | list[str] = ALL_LINEAR
    base: Literal["nf4"] | None = None  # QLoRA, arXiv 2305.14314: base model in 4 bits (bitsandbytes)
    merge: bool = False  # save a whole model, with the adapters merged into its weights
    continue_adapters: bool = False  # train the adapters that --model is a directory of, not fresh ones

    @model_validator(mode="after")
    def _checked(self) -> Lora:
        for name, value in self.others.items():
            if name in REFUSED and (name not in NEUTRAL or value != NEUTRAL[name]):
                raise ValueError(f"lora.{name} cannot be set: {REFUSED[name]}")
        self._check_names()
        start = self.others.get("init_lora_weights", True)
        if not (start is True or start in STARTS[1:] or re.fullmatch(r"pissa_niter_\d+", str(start))):
            why = (
                "the first step would not start from the reference" if start is False else "it is not offered"
            )
            raise ValueError(f"lora.init_lora_weights={start!r}: {why}; expected one of {', '.join(STARTS)}")
        if str(start).startswith("pissa_niter") and not self.merge:
            raise ValueError(
                f"lora.init_lora_weights={start} is random, so that adapters alone would not fit the base "
                "model again; set lora.merge=true or lora.init_lora_weights=pissa"
            )
        if self.merge and self.others.get("lora_bias"):
            raise ValueError(
                "lora.lora_bias=true cannot be merged into layers without a bias; set one of them"
            )
        return self

    def _check_names(self) -> None:
        if not self.others or find_spec("peft") is None:
            return  # without peft, the run itself asks for it
        import peft

        fields = {field.name for field in dataclasses.fields(peft.LoraConfig)}
        for name in self.others:
            if name not in fields:
                raise unknown("recipe key", f"lora.{name}", self._offered(fields))

    def _offered(self, fields: set[str]) -> list[str]:
        own = set(type(self).model_fields)
        return [f"lora.{name}" for name in (fields - REFUSED.keys()) | own]

    @property
    def others(self) -> dict[str, Any]:
        """The fields that `peft.LoraConfig` gets as they are."""
        return dict(self.__pydantic_extra__ or {})

    @property
    def changes_base(self) -> bool:
        """Whether the initialization changes the base weights: without adapters they are no reference."""
        return str(self.others.get("init_lora_weights")).startswith(CHANGE_BASE)


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
        if settings := sorted(lora.model_fields_set - {"base", "merge", "continue_adapters"}):
            raise RecipeError(
                f"lora.{settings[0]} is that of the adapters {name!r}, which are continued; leave it out, or "
                "set lora.continue_adapters=false for fresh adapters"
            )
    elif place.adapters and not lora.merge:
        raise RecipeError(
            f"the model {name!r} consists of adapters, and fresh ones over them would fit to no saved model; "
            "set lora.continue_adapters=true to train those further, or lora.merge=true to save a whole model"
        )


def with_adapters(
    model: nn.Module,
    lora: Lora,
    seed: int,
    *,
    tokens: Sequence[int] = (),
    task: str = "CAUSAL_LM",
    whole: Sequence[str] = (),
) -> nn.Module:
    """Add fresh adapters, which alone are trained; they do not change the output yet.

    Args:
        tokens: new tokens, whose rows are trained too unless the settings choose among embeddings themselves.
        task: peft's name of what the model does.
        whole: modules that are trained as a whole, besides those that the settings name.

    Raises:
        RecipeError: peft is not installed.
        ModelError: no module matches a target, or peft refuses a field or a combination of them.
    """
    try:
        import peft
    except ImportError as error:
        raise RecipeError("lora needs peft: pip install 'pairkit[lora]'") from error
    torch.manual_seed(seed)
    outside = outside_text(model)  # gets no adapters, whatever the names of its modules
    fields: dict[str, Any] = {"r": lora.r, "lora_alpha": lora.alpha, "target_modules": lora.targets}
    if tokens and not any(lora.others.get(name) for name in ("modules_to_save", "trainable_token_indices")):
        fields["trainable_token_indices"] = {key: list(tokens) for key in _token_modules(model)}
    if whole:
        fields["modules_to_save"] = list(whole)
    # On the meta device there are no weights that an initialization could take apart.
    meta = next(model.parameters()).is_meta
    overrides: dict[str, Any] = {"init_lora_weights": True} if meta else {}
    overrides["exclude_modules"] = _excluded(model, lora, outside)
    if lora.others.get("exclude_modules") and outside:
        raise ModelError(
            "lora.exclude_modules: in a model with images, video or sound pairkit excludes everything but "
            "the text part itself; name the modules to adapt with lora.targets instead"
        )
    try:
        config = peft.LoraConfig(task_type=task, **{**fields, **_named(lora, whole), **overrides})
        with quiet_peft():
            return cast("nn.Module", peft.get_peft_model(cast("Any", model), config, low_cpu_mem_usage=meta))
    except (ValueError, TypeError, ImportError, NotImplementedError) as error:
        # Its message names the field, except for the targets, which it lists.
        field = f".targets {lora.targets!r}" if "Target modules" in str(error) else ""
        raise ModelError(f"lora{field}: {error}") from error


def _named(lora: Lora, whole: Sequence[str]) -> dict[str, Any]:
    """Return the further settings, with the modules that are trained as a whole."""
    own = lora.others.get("modules_to_save")
    return lora.others | ({"modules_to_save": [*own, *whole]} if own and whole else {})


def _excluded(model: nn.Module, lora: Lora, outside: str | None) -> str | list[str] | None:
    """Return what gets no adapters: the pattern `outside`, what the settings name, and what can take none."""
    chosen: str | list[str] | None = outside or lora.others.get("exclude_modules")
    # Targets that are named are meant: a failure then says which.
    names = not_plain(model) if lora.targets == ALL_LINEAR else []
    if not names or chosen is None:
        return names or chosen
    if isinstance(chosen, str):  # a pattern of whole names
        return "|".join([f"(?:{chosen})", *map(re.escape, names)])
    return [*chosen, *names]


def _token_modules(model: nn.Module) -> list[str]:
    """Name the modules with a row per token: the embeddings, and a head with weights of its own."""
    network = cast("Any", model)
    embeddings, head = network.get_input_embeddings(), network.get_output_embeddings()
    own = [embeddings] if head is None or head.weight is embeddings.weight else [embeddings, head]
    return [name for name, module in model.named_modules() if any(module is each for each in own)]


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
