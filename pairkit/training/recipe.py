"""The training recipe: everything that determines a run, and where each default comes from."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from pairkit.dataset.card_settings import CardSettings
from pairkit.dataset.mixed import Data, MixedPart, check_parts
from pairkit.losses import Loss, WeightedSum
from pairkit.losses.building import build, ranges
from pairkit.losses.loss import single_parts
from pairkit.losses.parameters import resolve
from pairkit.losses.sampling import NEEDS_POLICY
from pairkit.losses.spec import Trained
from pairkit.models.chat.settings import Template, TemplateSettings
from pairkit.models.new_tokens import NewTokens
from pairkit.recipes import NAMES, Strict
from pairkit.training.generated.settings import EvalSettings
from pairkit.training.lora import Lora
from pairkit.training.pairrm.settings import check_settings
from pairkit.training.record.settings import Record
from pairkit.training.step.learning_rate import default_rate
from pairkit.training.step.optimizer import Optimizer
from pairkit.training.step.saving import Interval, Metric, interval_of
from pairkit.training.tokens.truncation import prompt_limit


def _check_turns(loss: Loss | WeightedSum) -> None:
    """Refuse whole dialogues for a loss of which no part, or one that reads more than sums, takes them."""
    parts = single_parts(loss)
    if not parts:
        raise ValueError(
            f"assistant_turns=all scores whole dialogues, but {loss.name} compares completions of one "
            f"prompt; use --loss sft or a sum with it, such as {loss.name}+sft, or assistant_turns=last"
        )
    for part in parts:
        if part.needs or part.statistics:
            read = ", ".join(sorted(part.needs)) or "statistics of the batch"
            raise ValueError(
                f"assistant_turns=all gives a part of a sum the policy's log-probs of whole dialogues, but "
                f"{part.name} reads {read} too; use it alone, or assistant_turns=last"
            )


class TrainRecipe(Strict):
    """A training run. Lengths are in tokens; what 0 or null means is noted at a field.

    >>> import pairkit
    >>> pairkit.TrainRecipe(data="sums", model="config.json", loss="dpo", max_steps=2).sets_per_step
    128

    Raises `pydantic.ValidationError` for unknown keys and values out of range; `pairkit.train` also takes the
    fields as a mapping, and raises `RecipeError` for them.
    """

    # a directory that `pairkit build` wrote, or org/name on the hub; or a list of these to mix, each as
    # DIR:WEIGHT or as {data, weight, name}
    data: Annotated[
        Annotated[str, Tag("one")] | Annotated[tuple[MixedPart, ...], Tag("several")],
        Discriminator(lambda value: "several" if isinstance(value, (list, tuple)) else "one"),
    ]
    train_split: str = "train"
    eval_split: str = "test"
    limit: int | None = Field(default=None, ge=1)  # use only the first N training sets; null = all
    eval_limit: int | None = Field(default=512, ge=1)  # the same of the evaluation split

    # a hub id, a directory of a model, of adapters or of a run, or a configuration file (.json) to start from
    # scratch
    model: str
    revision: str | None = None
    tokenizer: str | None = None  # null = the model's; "bpe:N" = trained on the data, N tokens
    tokens: NewTokens | None = None  # what the tokenizer gets besides its own, such as {add: [<think>]}
    reference: str | None = None  # null = the model that training starts from
    trust_remote_code: bool = False
    attention: str | None = None  # transformers' attn_implementation; null = its choice
    dtype: Literal["float32", "bfloat16"] = "float32"  # of the weights
    # of the saved weights; null = that of the model's files, or of the training from a configuration
    save_dtype: Literal["float32", "bfloat16", "float16"] | None = None
    bf16: bool = False  # bfloat16 autocast over float32 weights
    gradient_checkpointing: bool = False
    shard: bool | None = (
        None  # each process holds a part of the weights; null = as `accelerate launch` sets it
    )
    compile: bool = False  # the parts of each layer with torch.compile, at the first passes
    share_prompts: bool = True  # false = every completion passes with its own copy of the prompt, padded

    lora: Lora | None = None  # null = all weights are trained; {} = adapters with their defaults

    loss: Annotated[dict[str, Any], NAMES] = Field(default={"name": "dpo"})  # name and hyper-parameters
    negatives: Annotated[dict[str, Any], NAMES] = Field(default={})  # the sampler's settings
    expand: Literal["pairs"] | None = None  # pairs = each negative makes an example of its own; null = sets
    # pairs of each set that pairrm trains on, drawn by the seed; null = all of different ranks
    pairs_per_set: int | None = Field(default=None, ge=1)
    # coefficient of the load balance of experts; "model" = that of its configuration; null = no such loss
    router_aux_loss: Annotated[float, Field(ge=0)] | Literal["model"] | None = None
    optimizer: Optimizer = Optimizer()

    template: Template = TemplateSettings()  # how conversations become text; "none" = raw text
    # scored, part of a completion but not scored, removed; reward models and PairRM: removed by default
    thoughts: Literal["train", "mask", "strip"] = "train"
    # all = earlier turns are scored too, for sft alone or as a part of a sum
    assistant_turns: Literal["last", "all"] = "last"

    max_length: int = Field(default=2048, ge=2)  # prompt and completion
    max_prompt_length: int | None = Field(
        default=None, ge=1
    )  # cut at its beginning; null = 7/8 of max_length
    # Bounded, because the sets of a step are listed before it: more would take the memory of the machine.
    sets_per_step: int = Field(default=128, ge=1, le=1_000_000)
    tokens_per_micro_batch: int = Field(default=8192, ge=1)
    epochs: float = Field(default=1.0, gt=0)
    max_steps: int | None = Field(default=None, ge=1)  # null = as many as the epochs have
    seed: int = Field(default=0, ge=0)
    max_skipped: int = Field(default=3, ge=1)  # consecutive steps without a finite loss that end the run

    log_every: int = Field(default=1, ge=1)
    # where metrics are logged besides metrics.jsonl; [] = nowhere
    trackers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ("tensorboard",)
    eval_every: int | None = Field(
        default=None, ge=1
    )  # steps; null = before the first step and after the last
    # generate: a benchmark that the policy answers while it is trained; null = none
    eval: EvalSettings = EvalSettings()
    # what the run writes besides: figures, pairs, samples; see docs/training.md
    record: Record = Record()
    # steps between checkpoints; null = a tenth of the run, at least 10; epoch = as null, and a model after
    # each epoch
    save_every: Interval = None
    keep: int = Field(default=2, ge=1)  # checkpoints, the last ones
    keep_best: Metric | None = None  # and the best one by this metric of the held-out sets

    card: CardSettings = CardSettings()  # what the model's card states besides what pairkit knows

    @field_validator("data")
    @classmethod
    def _parts(cls, value: Data) -> Data:
        if isinstance(value, tuple):
            check_parts(value)
            # One without a weight is no mixture.
            return value[0].data if len(value) == 1 and value[0] == MixedPart(data=value[0].data) else value
        return value

    @field_validator("save_every", mode="before")
    @classmethod
    def _interval(cls, value: Any) -> Any:
        return interval_of("save_every", value)

    @field_validator("loss", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _checked(self) -> TrainRecipe:
        loss = build(self.loss_name, **self.loss_parameters)
        self._check_optimizer()
        # Here, so that the record of a run holds the rate that it had.
        if self.optimizer.learning_rate is None:
            rate = default_rate(
                adapters=self.lora is not None,
                likelihood=loss.completions == "first",
                scratch=self.model.endswith(".json"),
                reward=loss.trains != "policy",
            )
            object.__setattr__(self, "optimizer", self.optimizer.model_copy(update={"learning_rate": rate}))
        resolve("negatives", ranges(loss), self.negatives)
        blocks = [self.loss_parameters, *(self.loss_parameters.get(part.name) for _, part in loss.parts)]
        own = {key for block in blocks if isinstance(block, dict) for key in block} & loss.sampler.keys()
        for key in self.negatives:
            if key in own:
                raise ValueError(f"negatives.{key} and loss.{key} conflict: set only one")
        # As the rankers `reward_model` and `pairrm` read a text.
        if loss.trains != "policy" and "thoughts" not in self.model_fields_set:
            object.__setattr__(self, "thoughts", "strip")
        if loss.trains == "reward":
            self._check_reward(loss)
        if loss.trains == "pairrm":
            check_settings(self.loss_name, dict(self))
        elif self.pairs_per_set is not None:
            raise ValueError(f"pairs_per_set is for pairrm, which takes pairs of a set, not {self.loss_name}")
        if self.assistant_turns == "all" and loss.completions != "first":
            _check_turns(loss)
        if self.expand:
            sampled = [f"negatives.{key}" for key in self.negatives] + [f"loss.{key}" for key in sorted(own)]
            self._check_expand(loss.completions, sampled)
        if self.lora and not self.lora.merge and self.model.endswith(".json"):
            raise ValueError(
                "lora.merge must be true when training from a config: "
                "adapters are useless without the random base weights"
            )
        if self.lora and self.tokens and not self.lora.merge:
            raise ValueError(
                "lora.merge must be true with tokens.add: adapters alone would not fit the base model, which "
                "has no such tokens"
            )
        if self.lora and self.lora.base and self.model.endswith(".json"):
            raise ValueError("lora.base needs pretrained weights, but --model is a config file")
        if self.keep_best and self.eval_every is None:
            raise ValueError("keep_best compares evaluations: set eval_every, such as eval_every=50")
        if self.max_prompt_length is not None and self.max_prompt_length >= self.max_length:
            raise ValueError("max_prompt_length must be below max_length, to leave room for a completion")
        return self

    def _check_expand(self, completions: str, sampled: list[str]) -> None:
        if completions == "first":
            raise ValueError(
                f"expand=pairs needs negatives, but {self.loss_name} takes the chosen completion alone"
            )
        if sampled:
            raise ValueError(
                f"expand=pairs trains on every negative, so that none is sampled: remove {', '.join(sampled)}"
            )

    def _check_reward(self, loss: Loss | WeightedSum) -> None:
        """Refuse what a reward model has no use for. Raises `ValueError`."""
        name = self.loss_name
        template = self.template
        if template == "none":
            raise ValueError(
                f"{name} trains on conversations in the chat template: template=none has none; remove it, or "
                "set template.file"
            )
        sampling = {**loss.sampler, **self.negatives}.get("sampling")
        useless = {
            "reference": (self.reference, "a reward model has no reference"),
            "expand": (self.expand, "the loss takes the pairs of a set itself"),
            "template.prefill": (template.prefill, "a reward model reads whole conversations"),
            "max_prompt_length": (self.max_prompt_length, "conversations are not cut"),
            "eval.generate": (self.eval.generate, "a reward model generates nothing"),
            "record": (self.record.asked, "a reward model has no log-probs and writes nothing"),
            "router_aux_loss": (self.router_aux_loss, "it is for policies only"),
            "lora.base": (self.lora and self.lora.base, "a reward model is trained in full precision"),
            "thoughts=mask": (self.thoughts == "mask", "use thoughts=train or thoughts=strip"),
            f"keep_best={self.keep_best}": (
                self.keep_best is not None and "logp" in self.keep_best,
                "use loss, reward_accuracy or reward_margin",
            ),
            "assistant_turns=all": (self.assistant_turns == "all", "no token is scored"),
            f"negatives.sampling={sampling}": (
                sampling in NEEDS_POLICY,
                "a reward model has no log-probs to draw by; use all, random, worst or quantile",
            ),
        }
        for field, (value, reason) in useless.items():
            if value:
                raise ValueError(f"{field} cannot be set with {name}: {reason}")

    def _check_optimizer(self) -> None:
        settings = self.optimizer
        if self.dtype == "float32" and (settings.master or settings.rounding != "nearest"):
            key = "master" if settings.master else "rounding"
            raise ValueError(
                f"optimizer.{key} is for weights in bfloat16, but dtype is float32; set dtype=bfloat16 or "
                "remove it"
            )

    @property
    def loss_name(self) -> str:
        if "name" not in self.loss:
            raise ValueError("the loss block has no name; set one, such as loss: {name: dpo}")
        return str(self.loss["name"])

    @property
    def loss_parameters(self) -> dict[str, Any]:
        return {key: value for key, value in self.loss.items() if key != "name"}

    @property
    def trains(self) -> Trained:
        """The kind of model that the loss trains."""
        return build(self.loss_name, **self.loss_parameters).trains

    @property
    def prompt_limit(self) -> int:
        """The most tokens of a prompt; the rest of `max_length` is left for the completion."""
        return prompt_limit(self.max_length, self.max_prompt_length)

    @property
    def adapters_off_is_reference(self) -> bool:
        """Whether the reference is the trained model without its adapters."""
        # Those that are continued are a part of the model that training starts from.
        fresh = self.lora is not None and not self.lora.continue_adapters and not self.lora.changes_base
        return fresh and self.reference is None

    def revision_of(self, name: str) -> str | None:
        """Return the revision of a model: `revision` is that of `model`; another reference has none."""
        return self.revision if name == self.model else None
