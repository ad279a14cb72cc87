"""The training recipe: everything a run is determined by, and where each default comes from."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from pairkit.losses import build
from pairkit.losses.building import ranges
from pairkit.losses.parameters import resolve
from pairkit.recipes import Strict
from pairkit.training.lora import Lora

# What changes how a run is done but not what it ends in: a run may go on with others than it began with.
HOW = frozenset(
    {
        "tokens_per_micro_batch",
        "gradient_checkpointing",
        "share_prompts",
        "shard",
        "compile",
        "max_skipped",
        "log_every",
        "trackers",
        "save_every",
        "keep",
    }
)


class Optimizer(Strict):
    """AdamW; the defaults are those of the SimPO recipes but for the learning rate, which is DPO's."""

    learning_rate: float = Field(default=5e-7, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = Field(default=1e-8, gt=0)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = Field(default=0.1, ge=0, le=1)  # share of all steps, 0 = none
    max_grad_norm: float = Field(default=1.0, ge=0)  # 0 = no clipping


class TrainRecipe(Strict):
    """All of a training run. Lengths are in tokens, 0 or null turns a thing off where that is said."""

    data: str  # a directory that `pairkit build` wrote
    train_split: str = "train"
    eval_split: str = "test"
    limit: int | None = Field(default=None, ge=1)  # sets of the training split, from the first; null = all
    eval_limit: int | None = Field(default=512, ge=1)  # sets of the evaluation split; null = all

    model: str  # a hub id, a directory, or a configuration file (.json) to start from scratch
    revision: str | None = None
    tokenizer: str | None = None  # null = the model's; "bpe:N" = trained on the data, N tokens
    reference: str | None = None  # null = the model that training starts from
    trust_remote_code: bool = False
    attention: str | None = None  # transformers' attn_implementation; null = its choice
    dtype: Literal["float32", "bfloat16"] = "float32"  # of the weights
    bf16: bool = False  # bfloat16 autocast over float32 weights
    gradient_checkpointing: bool = False
    shard: bool | None = None  # each process holds a part of the weights; null = as `accelerate launch` says
    compile: bool = False  # the parts of each layer with torch.compile, at the first passes
    share_prompts: bool = True  # false = every completion passes with a prompt of its own, padded

    lora: Lora | None = None  # null = all weights are trained; {} = adapters with their defaults

    loss: dict[str, Any] = Field(default={"name": "dpo"})  # name and hyper-parameters
    negatives: dict[str, Any] = Field(default={})  # the sampler's settings
    optimizer: Optimizer = Optimizer()

    max_length: int = Field(default=2048, ge=2)  # prompt and completion
    max_prompt_length: int | None = Field(
        default=None, ge=1
    )  # cut at its beginning; null = 7/8 of max_length
    sets_per_step: int = Field(default=128, ge=1)
    tokens_per_micro_batch: int = Field(default=8192, ge=1)
    epochs: float = Field(default=1.0, gt=0)
    max_steps: int | None = Field(default=None, ge=1)  # null = as many as the epochs have
    seed: int = Field(default=0, ge=0)
    max_skipped: int = Field(default=3, ge=1)  # so many steps in a row without a finite loss end the run

    log_every: int = Field(default=1, ge=1)
    # what hears of the metrics besides metrics.jsonl; [] = nothing
    trackers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ("tensorboard",)
    eval_every: int | None = Field(
        default=None, ge=1
    )  # steps; null = before the first step and after the last
    save_every: int | None = Field(
        default=None, ge=1
    )  # steps; null = only when the run ends or is interrupted
    keep: int = Field(default=2, ge=1)  # checkpoints

    @field_validator("loss", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _checked(self) -> TrainRecipe:
        loss = build(self.loss_name, **self.loss_parameters)
        resolve("negatives", ranges(loss), self.negatives)
        named = [self.loss_parameters, *(self.loss_parameters.get(part.name) for _, part in loss.parts)]
        own = {key for block in named if isinstance(block, dict) for key in block} & loss.sampler.keys()
        for key in self.negatives:
            if key in own:
                raise ValueError(f"negatives.{key} and loss.{key} conflict: set only one")
        if self.lora and not self.lora.merge and self.model.endswith(".json"):
            raise ValueError("lora.merge=true is needed: adapters alone cannot stand on random weights")
        if self.lora and self.lora.base and self.model.endswith(".json"):
            raise ValueError("lora.base quantizes weights that a model has: name one, not a configuration")
        if self.max_prompt_length is not None and self.max_prompt_length >= self.max_length:
            raise ValueError("max_prompt_length leaves no room for a completion: it must be below max_length")
        return self

    @property
    def loss_name(self) -> str:
        if "name" not in self.loss:
            raise ValueError("the loss block needs a name, such as loss: {name: dpo}")
        return str(self.loss["name"])

    @property
    def loss_parameters(self) -> dict[str, Any]:
        return {key: value for key, value in self.loss.items() if key != "name"}

    @property
    def prompt_limit(self) -> int:
        """The most tokens of a prompt: the rest of `max_length` is the completion's."""
        return self.max_prompt_length or max(1, self.max_length * 7 // 8)

    def revision_of(self, name: str) -> str | None:
        """The revision is the model's; another model named as the reference has none."""
        return self.revision if name == self.model else None
