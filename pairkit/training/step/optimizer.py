"""The optimizer of a run: its settings, and what torch and bitsandbytes have, as one object.

Sources: AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101), 8-bit states (Dettmers et al. 2022, arXiv
2110.02861), Adafactor (Shazeer and Stern 2018, arXiv 1804.04235), Muon (Jordan et al. 2024) with the step
size that has AdamW's root mean square (Liu et al. 2025, arXiv 2502.16982).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from pairkit.errors import RecipeError
from pairkit.recipes import Strict

Names = Literal["adamw", "adamw_8bit", "adafactor", "muon"]


class Optimizer(Strict):
    """The optimizer; AdamW's defaults are those of the SimPO recipes."""

    name: Names = "adamw"
    # Peak. null = by what is trained (`learning_rate.default_rate`)
    learning_rate: float | None = Field(default=None, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)  # of matrices; norms and biases do not shrink
    betas: tuple[float, float] = (0.9, 0.999)  # of adamw and adamw_8bit, and of muon's other weights
    epsilon: float = Field(default=1e-8, gt=0)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = Field(default=0.1, ge=0, le=1)  # share of all steps, 0 = none
    max_grad_norm: float = Field(default=1.0, ge=0)  # 0 = no clipping
    rounding: Literal["nearest", "stochastic"] = "nearest"  # of a step to weights in bfloat16
    master: Literal["float32"] | None = None  # float32 copies of weights in bfloat16, which the steps change

    @model_validator(mode="after")
    def _checked(self) -> Optimizer:
        if self.master and self.rounding == "stochastic":
            raise ValueError(
                "optimizer.master=float32 loses nothing that stochastic rounding would keep: set only one of "
                "optimizer.master and optimizer.rounding"
            )
        if self.name == "adafactor" and self.learning_rate is None:
            raise ValueError(
                "optimizer.learning_rate must be set for adafactor, whose rate is relative to the size of "
                "each matrix's weights, such as optimizer.learning_rate=1e-4"
            )
        return self


FUSED_ON = ("cpu", "cuda")  # types of devices


class StepOptimizer:
    """One or two optimizers as one: their weights, in a fixed order, and a state dict over all of them."""

    # Whether an update that is small next to its weight is lost, where the weight is not float32.
    loses_small_updates = True

    def __init__(self, parts: Sequence[torch.optim.Optimizer]) -> None:
        self._parts = parts

    @property
    def weights(self) -> list[Tensor]:
        """The weights, in the order in which the state dict numbers them."""
        return [p for part in self._parts for group in part.param_groups for p in group["params"]]

    def step(self, rate: float, seed: int) -> None:
        """Update the weights that have a gradient with the learning rate `rate`."""
        self.set_rate(rate)
        for part in self._parts:
            part.step()

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of every group."""
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = rate

    def zero_grad(self) -> None:
        """Drop all gradients: their memory is free until the next backward."""
        for weight in self.weights:
            weight.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Return the states of all parts; weights are numbered as in `weights`."""
        state: dict[int, Any] = {}
        groups: list[dict[str, Any]] = []
        for first, part in self._numbered():
            content = part.state_dict()
            state |= {first + number: values for number, values in content["state"].items()}
            groups += [{**g, "params": [first + n for n in g["params"]]} for g in content["param_groups"]]
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, content: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        groups = list(content["param_groups"])
        for first, part in self._numbered():
            own, groups = groups[: len(part.param_groups)], groups[len(part.param_groups) :]
            numbers = [n for group in own for n in group["params"]]
            state = {n - first: content["state"][n] for n in numbers if n in content["state"]}
            parameter_groups = [{**group, "params": [n - first for n in group["params"]]} for group in own]
            part.load_state_dict({"state": state, "param_groups": parameter_groups})

    def _numbered(self) -> Iterator[tuple[int, torch.optim.Optimizer]]:
        """Yield each part with the number of its first weight."""
        first = 0
        for part in self._parts:
            yield first, part
            first += sum(len(group["params"]) for group in part.param_groups)


def check_optimizer(settings: Optimizer, *, sharded: bool) -> None:
    """Refuse an optimizer that is not installed, or that cannot update weights that are held in parts.

    Raises:
        RecipeError: one of these.
    """
    if settings.name == "adamw_8bit" and find_spec("bitsandbytes") is None:
        raise RecipeError("optimizer.name=adamw_8bit needs bitsandbytes: pip install 'pairkit[qlora]'")
    if not sharded:
        return
    if settings.name != "adamw":
        raise RecipeError(
            f"optimizer.name={settings.name} needs whole matrices and cannot be sharded; set shard=false or "
            "optimizer.name=adamw"
        )
    if settings.master or settings.rounding == "stochastic":
        raise RecipeError(
            "optimizer.master and optimizer.rounding=stochastic cannot be sharded; with dtype=float32 and "
            "--bf16 each process holds its part of the weights in float32 and layers compute in bfloat16"
        )


def partition(settings: Optimizer, model: nn.Module) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Divide the trained weights: what Muon takes, other matrices, and norms and biases.

    Muon takes matrices between hidden states. Embeddings and the output head, whose rows belong to tokens,
    and experts that are stacked in one tensor are AdamW's.
    """
    parameters: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
    of_tokens = set(map(id, _token_weights(model))) if settings.name == "muon" else set()
    orthogonal = [p for p in parameters if settings.name == "muon" and p.ndim == 2 and id(p) not in of_tokens]
    orthogonal_ids = set(map(id, orthogonal))
    matrices = [p for p in parameters if p.ndim > 1 and id(p) not in orthogonal_ids]
    return orthogonal, matrices, [p for p in parameters if p.ndim <= 1]


def optimizers(
    settings: Optimizer, orthogonal: list[Tensor], matrices: list[Tensor], others: list[Tensor]
) -> list[torch.optim.Optimizer]:
    """Make the optimizers of a `partition`; weight decay applies to matrices only."""
    decay, rate = settings.weight_decay, settings.learning_rate
    assert rate is not None, "the recipe has replaced null"
    groups = [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
    parts: list[torch.optim.Optimizer] = []
    if orthogonal:
        # With AdamW's root mean square per weight, so that one rate fits both parts.
        parts.append(
            torch.optim.Muon(orthogonal, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
        )
    if settings.name == "adamw_8bit":
        parts.append(_eight_bits(settings, groups, rate))
    elif settings.name == "adafactor":
        parts.append(torch.optim.Adafactor(groups, lr=rate))
    else:
        parts.append(
            torch.optim.AdamW(
                groups,
                lr=rate,
                betas=settings.betas,
                eps=settings.epsilon,
                fused=_fusible(groups) or None,  # None is torch's own choice
            )
        )
    return parts


def state_bytes(settings: Optimizer, model: nn.Module) -> float:
    """Count the bytes of the optimizer's states: moments, and float32 copies of the weights."""
    wide = settings.master is not None or settings.rounding == "stochastic"

    def of(weights: Iterable[Tensor], moments: float) -> float:
        return sum(moments * p.numel() * (4 if wide else p.element_size()) for p in weights)

    orthogonal, matrices, others = partition(settings, model)
    copies = sum(4 * p.numel() for p in (*orthogonal, *matrices, *others) if p.dtype == torch.bfloat16)
    total = copies if settings.master else 0.0
    if settings.name == "adafactor":  # a number per row and per column of a matrix
        return total + of(others, 1)
    if settings.name == "adamw_8bit":
        return total + sum(2 * p.numel() for p in (*matrices, *others))
    return total + of(orthogonal, 1) + of((*matrices, *others), 2)


def _token_weights(model: nn.Module) -> Iterator[Tensor]:
    """Yield the weights of embeddings and of the output head, their adapters included."""
    head = getattr(model, "get_output_embeddings", lambda: None)()
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) or (module is head and isinstance(module, nn.Module)):
            yield from module.parameters()
        # peft keeps the adapters of an embedding next to it, in a dictionary of that name.
        if "lora_embedding" in name:
            yield from module.parameters()


def _fusible(groups: list[dict[str, Any]]) -> bool:
    """Return whether one kernel can update all weights.

    It reads and writes each number once; torch's default on a CPU makes a pass and a copy per operation.
    """
    weights = [p for group in groups for p in group["params"]]
    return all(p.is_floating_point() and p.device.type in FUSED_ON for p in weights)


def _eight_bits(settings: Optimizer, groups: list[dict[str, Any]], rate: float) -> torch.optim.Optimizer:
    import bitsandbytes

    make: Any = bitsandbytes.optim
    # Weights below 4,096 elements keep moments of 32 bits: bitsandbytes' own default.
    optimizer: torch.optim.Optimizer = make.AdamW8bit(
        groups, lr=rate, betas=settings.betas, eps=settings.epsilon
    )
    return optimizer
