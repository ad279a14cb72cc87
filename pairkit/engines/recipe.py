"""The engine of a recipe and how it is called: the fields that `generate:` and a judge share."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Annotated, Any, ClassVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt, field_validator, model_validator

from pairkit.engines.table import ENGINES
from pairkit.errors import unknown
from pairkit.masking import looks_secret
from pairkit.models.chat.settings import Template, TemplateSettings
from pairkit.recipes import NAMES, Strict
from pairkit.trust import OPENAI_KEY, OPENAI_URL

# Field -> the engines that read it, of the fields that not all of them read.
_READERS = {
    name: [engine for engine, row in ENGINES.items() if name in row.reads]
    for name in sorted(frozenset().union(*(row.reads for row in ENGINES.values())))
}


class EngineRecipe(Strict):
    """An engine and its model.

    engine         transformers, vllm or openai: see `engines.table`.
    model          a hub id or a directory; for openai the name that the server knows.
    template       how messages become the text that the model reads: kwargs, file, system, prefill; or
                   "none". openai takes kwargs and system only.
    batch_tokens   transformers: prompt and completion tokens per batch, which bound its memory.
    vllm           vllm: further arguments of `vllm.LLM`, such as tensor_parallel_size.
    base_url       openai: the server's URL, up to and including /v1.
    api_key_env    openai: the environment variable that holds the key. With a base_url of your own, no
                   key is sent unless this is set.
    many_per_call  openai: whether completions with equal settings are requested in one call (`n`).
    extra_body     openai: further fields of the request; null removes one of pairkit's own.
    """

    # The prefix of its fields on a command line.
    place: ClassVar[str] = ""

    engine: str = "transformers"
    model: str
    revision: str | None = None
    template: Template = TemplateSettings()
    batch_tokens: PositiveInt = 32_768
    vllm: Annotated[dict[str, Any], NAMES] = Field(default_factory=dict)
    base_url: str = OPENAI_URL
    api_key_env: str = OPENAI_KEY
    many_per_call: bool = True
    extra_body: dict[str, Any] = Field(default_factory=dict)

    @property
    def varied(self) -> frozenset[str]:
        """The parameters of sampling that differ between the completions of one prompt, on purpose."""
        return frozenset()

    @field_validator("engine")
    @classmethod
    def _known_engine(cls, name: str) -> str:
        if name not in ENGINES:
            raise unknown(
                "engine", name, ENGINES, described={engine: row.help for engine, row in ENGINES.items()}
            )
        return name

    @field_validator("api_key_env")
    @classmethod
    def _names_a_variable(cls, name: str) -> str:
        # Without the value, which may be the key itself.
        usual = re.fullmatch(r"[A-Z_][A-Z0-9_]{0,63}", name) or name in os.environ
        if not usual or looks_secret(name):
            raise ValueError(
                f"recipe key '{cls.place}api_key_env' is the name of an environment variable, such as "
                "OPENAI_API_KEY, and not the key itself: set the variable to the key, and give its name"
            )
        return name

    @model_validator(mode="after")
    def _only_what_is_read(self) -> EngineRecipe:
        # Only fields that were given, because the others have defaults for every engine.
        for name in sorted(self.model_fields_set & _READERS.keys()):
            if self.engine not in _READERS[name]:
                engines = " and ".join(_READERS[name])
                raise ValueError(f"recipe key {name!r} is for engine {engines}, not {self.engine}")
        if not ENGINES[self.engine].local:
            _check_url(self)
            _check_server_template(self)
            _check_extra_body(self)
        return self


def _check_url(recipe: EngineRecipe) -> None:
    """Raise a `ValueError` for what is not a URL of a server."""
    where, url = f"recipe key '{recipe.place}base_url'", recipe.base_url
    # Without the value in any message: in what is not a URL, a password is not recognized and would be shown.
    if not url.lower().startswith(("http://", "https://")):
        raise ValueError(f"{where} must begin with http:// or https://, such as http://localhost:8000/v1")
    with suppress(ValueError):
        parts = urlsplit(url)
        # Looked at for the error that a wrong one raises.
        valid = parts.hostname and (parts.port is None or parts.port > 0)
        # After the host it is the end of a password with a slash in it.
        if valid and "@" not in f"{parts.path}{parts.query}{parts.fragment}":
            return
    raise ValueError(
        f"{where} is not the URL of a server, such as http://localhost:8000/v1; in a password, write the "
        "characters / ? # @ [ ] : as %2F %3F %23 %40 %5B %5D %3A"
    )


# What a server does with messages cannot be changed by a request -> what to do instead.
_SERVER_TEMPLATE = {
    "file": "start the server with it (vLLM: --chat-template FILE)",
    "prefill": "use engine vllm or transformers",
}


def _check_server_template(recipe: EngineRecipe) -> None:
    """Raise a `ValueError` for parts of `template` that a server does not take."""
    template = recipe.template
    if isinstance(template, str):
        raise ValueError(
            "recipe key 'template': none is for engines transformers and vllm, because a server of chat "
            "completions renders every prompt with its own template"
        )
    for name, instead in _SERVER_TEMPLATE.items():
        if getattr(template, name):
            raise ValueError(f"recipe key 'template.{name}' cannot be sent to a server: {instead}")


# Fields of a request that have a place elsewhere, where they are recorded with the completions.
_ELSEWHERE = {
    "model": "set model instead",
    "messages": "prompts are those of the source",
    "chat_template_kwargs": "set template.kwargs instead",
}
# Fields of a request that are recorded with a completion -> their type, and the least and the greatest value.
_RECORDED: dict[str, tuple[str, float, float]] = {
    "temperature": ("a number", 0, sys.float_info.max),
    "top_p": ("a number", 0, 1),
    "seed": ("an integer", -(2**63), 2**63 - 1),
    "max_tokens": ("an integer", 1, 2**31 - 1),
    "max_completion_tokens": ("an integer", 1, 2**31 - 1),
}


def _check_extra_body(recipe: EngineRecipe) -> None:
    """Raise a `ValueError` for fields of a request that would make another one than is recorded."""
    if None not in map(recipe.extra_body.get, ("max_tokens", "max_completion_tokens")):
        raise ValueError(
            f"recipe key '{recipe.place}extra_body' has max_tokens and max_completion_tokens, two names of "
            "one limit: remove one"
        )
    for name, value in recipe.extra_body.items():
        where = f"recipe key '{recipe.place}extra_body.{name}'"
        if name in _ELSEWHERE:
            raise ValueError(f"{where}: {_ELSEWHERE[name]}")
        if name in recipe.varied:
            raise ValueError(
                f"{where} is the same for all completions, but samples name several: give every part of "
                f"samples the same {name}, or remove it from extra_body"
            )
        if value is None:
            continue
        if name == "n":
            raise ValueError(f"{where}: {_number(recipe)}")
        if name in _RECORDED:
            kind, least, most = _RECORDED[name]
            types = (int,) if kind == "an integer" else (int, float)
            # A truth value is an integer in Python, and none of these.
            if isinstance(value, bool) or not isinstance(value, types) or not least <= value <= most:
                raise ValueError(f"{where} must be {kind} from {least:g} to {most:g}, got {value!r}")


def _number(recipe: EngineRecipe) -> str:
    """Describe what to do instead of asking for several answers in an extra field."""
    if recipe.place.startswith("generate."):
        return "set n in generate.samples instead; null requests completions one by one"
    return "remove it, because a judge reads one answer per question"


class Budget(Strict):
    """The most that one run may spend, all of its models together; null: no limit.

    Answers from the cache cost nothing.
    """

    requests: PositiveInt | None = None  # HTTP requests, retries included
    tokens: PositiveInt | None = None  # of prompts and completions, as the server counts them
    money: PositiveFloat | None = None  # in the currency of `prices`


class Price(Strict):
    """The price of a million tokens."""

    input: Annotated[float, Field(ge=0)]
    output: Annotated[float, Field(ge=0)]


class BatchSettings(Strict):
    """How requests are put into batches (the batch API of OpenAI), which are answered within a day.

    requests   requests per batch, at most.
    megabytes  size of the file of a batch, at most.
    poll       seconds between two looks at the batches that are not done.
    price      share of `prices` that a request in a batch costs.
    """

    requests: Annotated[int, Field(ge=1, le=1_000_000)] = 50_000
    megabytes: Annotated[float, Field(gt=0, le=2_000)] = 200
    poll: Annotated[float, Field(gt=0, le=3600)] = 30
    price: Annotated[float, Field(ge=0, le=1)] = 0.5


class CallSettings(Strict):
    """How calls to a server are made; none of this changes the content of a dataset.

    concurrency  calls in flight at a time.
    timeout      seconds per try.
    attempts     tries per call before it counts as failed.
    prices       model name -> price; needed for `budget.money` and to show the cost.
    batch        pairkit build: requests are submitted in batches, at half the price, and waited for. What a
                 batch leaves unanswered is asked directly.
    batches      how requests are put into batches.
    """

    concurrency: PositiveInt = 64
    timeout: PositiveFloat = 600
    attempts: PositiveInt = 6
    budget: Budget = Budget()
    prices: dict[str, Price] = Field(default_factory=dict)
    batch: bool = False
    batches: BatchSettings = BatchSettings()


def check_batches(calls: CallSettings, blocks: Iterable[Any]) -> None:
    """Raise a `ValueError` for `calls.batch` where no engine of these blocks has batches."""
    engines = dict.fromkeys(block.engine for block in blocks if hasattr(block, "engine"))
    if calls.batch and not any(ENGINES[engine].batches for engine in engines):
        able = " or ".join(engine for engine, row in ENGINES.items() if row.batches)
        fault = f"has {', '.join(engines)}" if engines else "asks no model"
        raise ValueError(
            f"recipe key 'calls.batch': batches need engine {able}, and the recipe {fault}: remove "
            f"calls.batch, or set engine={able}"
        )


def _without_batches(calls: CallSettings) -> CallSettings:
    if calls.batch:
        raise ValueError("calls.batch is for pairkit build; evaluations ask directly: remove it")
    return calls


# The calls of a command that waits for each answer.
DirectCalls = Annotated[CallSettings, AfterValidator(_without_batches)]
