"""The recipe of an online training: a build and a training that take turns, and how."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from pairkit import recipes
from pairkit.engines.table import ENGINES
from pairkit.errors import RecipeError, unknown
from pairkit.online.layout import folder_of
from pairkit.pipeline.recipe import BuildRecipe
from pairkit.recipes import Strict
from pairkit.training.recipe import TrainRecipe
from pairkit.trust import check_requests

KIND = "online"
# The samples of the paper (section 5.1), where a recipe names none.
SAMPLES = [{"n": 2, "temperature": temperature} for temperature in (0.6, 0.8, 1.0)]
# Between the seeds of two segments: nobody counts seeds of runs so far.
SEEDS = 1_000_000
# Fields that differ from segment to segment -> the field that decides them.
_OURS = {"build.generate.model": "model", "train.model": "model", "train.data": "build"}
# What a judge that is the policy itself has in common with the engine that generates.
_OF_ENGINE = ("engine", "revision", "vllm", "base_url", "api_key_env", "extra_body")
DATA = "segment-1/data"  # stands for the dataset of a segment where none is decided yet


class Mix(Strict):
    """Sets of earlier segments among those of a segment."""

    earlier: Annotated[float, Field(ge=0, lt=1)]  # share of all sets that are trained on


class Launch(Strict):
    """How training is started: in this process, or by `accelerate launch`."""

    processes: PositiveInt = 1
    config: str | None = None  # a file of `accelerate config`

    @property
    def launched(self) -> bool:
        """Whether `accelerate launch` starts the training."""
        return self.processes > 1 or self.config is not None


class Serve(Strict):
    """A command that serves the policy of each segment, for the engine openai.

    command  a program with its arguments, no shell; {model} is replaced by the directory of the policy.
    url      where it answers, up to and including /v1.
    seconds  how long it may take until it does.
    """

    command: str
    url: str
    seconds: PositiveFloat = 600


class OnlineRecipe(Strict):
    """An online training. All fields of `build` and `train` are those of the two commands.

    model                the first policy: a hub id or a directory.
    build                how a segment's dataset is built; the policy generates, so `generate` has no model,
                         and a judge without a model is the policy too.
    train                how it is trained on; `max_steps`, or `epochs` over the prompts, is the length of
                         the whole training.
    segments             parts into which the steps are divided, each with completions of the policy that the
                         part before has trained.
    prompts_per_segment  null: as many as its steps need, at most all of the source.
    reference            start: the first policy in all segments; previous: the policy of the segment before.
    mix                  null: a segment trains on its own sets alone.
    restart              optimizer: each segment is a run of its own, from the last policy. null: all are one
                         run, with one optimizer state, one schedule and one count of steps.
    seed                 of everything random, unless `build.seed` or `train.seed` is set.
    """

    model: str
    build: BuildRecipe
    train: TrainRecipe
    segments: PositiveInt = 3
    prompts_per_segment: PositiveInt | None = None
    reference: Literal["start", "previous"] = "start"
    mix: Mix | None = None
    restart: Literal["optimizer"] | None = None
    launch: Launch = Launch()
    serve: Serve | None = None
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, content: Any) -> Any:
        return filled(content) if isinstance(content, Mapping) else content

    @model_validator(mode="after")
    def _checked(self) -> OnlineRecipe:
        if self.train.trains != "policy":
            raise ValueError(
                f"train.loss: {self.train.loss_name} trains a ranker, which writes no completions for the "
                "next segment: choose a loss of a policy, such as mcpo or dpo, or train the ranker with "
                "`pairkit train` on a segment's dataset"
            )
        if self.train.train_split != "train":
            raise ValueError(
                f"train.train_split={self.train.train_split!r}: the dataset of a segment is trained on by "
                "its split 'train'; remove train.train_split"
            )
        if self.reference == "previous" and self.train.reference is not None:
            raise ValueError(
                "reference: previous and train.reference conflict: remove train.reference, or reference"
            )
        served = not ENGINES[self.generate.engine].local
        if served and self.serve is None:
            raise ValueError(
                f"build.generate.engine={self.generate.engine} needs serve: the weights change from segment "
                "to segment, so pairkit has to start the server: give serve.command, with {model} where the "
                "model's directory belongs, and serve.url"
            )
        if self.serve and not served:
            raise ValueError(f"serve is for engine openai, not {self.generate.engine}: remove it")
        if self.serve and self.generate.base_url.rstrip("/") != self.serve.url.rstrip("/"):
            raise ValueError(
                "build.generate.base_url and serve.url differ: the server that serve.command starts would "
                "not be the one that is asked; remove build.generate.base_url"
            )
        steps = self.train.max_steps
        if steps is not None and self.segments > steps:
            raise too_many_segments(self.segments, steps)
        return self

    @property
    def generate(self) -> Any:
        """How the policy generates."""
        assert self.build.generate is not None  # `filled` adds the block
        return self.build.generate

    @property
    def completions(self) -> int:
        """Completions that are sampled per prompt."""
        return sum(part.n for part in self.generate.samples)

    @property
    def loss_name(self) -> str:
        """The loss as a part of a file's name."""
        return re.sub(r"[^\w.+-]", "-", self.train.loss_name)  # the colons of a sum or of module:function

    def described(self) -> dict[str, Any]:
        """Return the fields as plain values, without those that differ from segment to segment."""
        content = self.model_dump(mode="json")
        del content["build"]["generate"]["model"], content["train"]["model"], content["train"]["data"]
        return content


def too_many_segments(segments: int, steps: int) -> RecipeError:
    """Make the error for segments without a step of their own."""
    return RecipeError(
        f"segments={segments} is more than the training has steps ({steps}): set segments={steps} or less, "
        "or more steps with --max-steps"
    )


def filled(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a recipe with those that follow from others: the model, seeds, the samples.

    Raises `RecipeError` for fields that other ones decide.
    """
    result = dict(content)
    _refuse_ours(content)
    build, train = dict(result.get("build") or {}), dict(result.get("train") or {})
    if isinstance(build.get("source"), str):
        build["source"] = {"name": build["source"]}
    generate = dict(build.get("generate") or {})
    if "models" in generate:
        raise RecipeError(
            "recipe key 'build.generate.models': the policy generates, and no pool of models; remove it"
        )
    generate.setdefault("samples", SAMPLES)
    model = result.get("model")
    if isinstance(model, str):
        generate["model"] = train["model"] = model
    serve = result.get("serve")
    served = serve is not None and generate.get("engine") == "openai"
    if served and isinstance(serve, Mapping) and "url" in serve:
        generate.setdefault("base_url", serve["url"])
    # The policy is to see the prompts as it sees them in training.
    if "template" in train:
        template = train["template"]
        # A server is started with a file, and cannot be sent one.
        if served and isinstance(template, Mapping):
            template = {key: value for key, value in template.items() if key != "file"}
        generate.setdefault("template", template)
    train["data"] = DATA
    for block in (build, train):
        block.setdefault("seed", result.get("seed", 0))
    _own_tokenizer(build, model)
    rank = build.get("rank")
    if rank is not None:
        several = isinstance(rank, (list, tuple))
        judges = [_own_judge(block, generate) for block in (rank if several else [rank])]
        build["rank"] = judges if several else judges[0]
    return result | {"build": build | {"generate": generate}, "train": train}


def _refuse_ours(content: Mapping[str, Any]) -> None:
    for place, decides in _OURS.items():
        value: Any = content
        for key in place.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        # Its own values come again where a recipe object is taken apart.
        if value is not None and value not in (content.get(decides), DATA):
            raise RecipeError(
                f"recipe key {place!r} differs from segment to segment: set {decides!r} instead"
            )


def _own_tokenizer(build: dict[str, Any], model: Any) -> None:
    """Let `token_swap` exchange tokens of the policy where no tokenizer is named."""
    noise = (build.get("mine") or {}).get("noise") or {}
    if isinstance(model, str) and isinstance(noise.get("token_swap"), Mapping):
        swap = {"tokenizer": model, **noise["token_swap"]}
        build["mine"] = {**build["mine"], "noise": {**noise, "token_swap": swap}}


def _own_judge(block: Any, generate: Mapping[str, Any]) -> Any:
    """Return a block of `rank`; a judge without a model is the policy, asked as it is when it generates."""
    if not isinstance(block, Mapping) or block.get("ranker") != "judge" or "model" in block:
        return block
    shared = {key: generate[key] for key in ("model", *_OF_ENGINE) if key in generate}
    return {**shared, **block}


def load(
    name_or_file: str | None,
    typed: Mapping[str, Any],
    *,
    remote_code: bool = False,
    allow_keys: Iterable[str] = (),
) -> OnlineRecipe:
    """Load the recipe of a name or file, with the fields that were typed replacing its own.

    Args:
        remote_code: whether a file may ask to run code that comes with a model.
        allow_keys: keys that a file may have sent to a server, as VARIABLE@URL.

    Raises `RecipeError` for an unknown key or value, and for code, a program or a key that only the file asks
    for.
    """
    content = recipes.merge(recipes.read(name_or_file, KIND) if name_or_file else {}, typed)
    for key in content.keys() - OnlineRecipe.model_fields.keys():
        raise unknown("recipe key", key, OnlineRecipe.model_fields)
    _check_program(content, typed)
    whole, own = filled(content), filled({"model": "", **typed})
    for part in ("build", "train"):
        check_requests(whole[part], own[part], remote_code=remote_code, allow_keys=allow_keys)
    if "model" not in content:
        raise RecipeError("no model to begin with: give --model DIR, a Hub id or --recipe")
    source = whole["build"].get("source")
    has_source = isinstance(source, Mapping) and "name" in source
    if not has_source and not whole["build"].get("sources"):
        raise RecipeError("no prompts: give --source NAME (`pairkit sources` lists them) or --recipe")
    return recipes.validate(OnlineRecipe, whole)


def _check_program(content: Mapping[str, Any], typed: Mapping[str, Any]) -> None:
    """Refuse a program that only a file asks to run."""
    commands = [
        serve.get("command") if isinstance(serve := fields.get("serve"), Mapping) else None
        for fields in (content, typed)
    ]
    if commands[0] is not None and commands[0] != commands[1]:
        raise RecipeError(
            "recipe key 'serve.command' asks to run a program: read it, then give it in the command, as "
            "serve.command='PROGRAM {model}'"
        )


def seed_of(seed: int, number: int) -> int:
    """Return the seed of a segment: a prompt that comes again gets other samples than before."""
    return seed + SEEDS * (number - 1)


def policy_before(out: Path, recipe: OnlineRecipe, number: int) -> str:
    """Return the model that segment `number` (from 1) generates with."""
    return recipe.model if number == 1 else str(folder_of(out, number - 1) / "run" / "model")
