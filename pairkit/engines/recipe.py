"""Which engine answers and how it is reached: the fields that `generate:` and a judge share."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from pairkit.recipes import Strict

# The fields that only some engines read.
_ONLY = {
    "revision": ("transformers", "vllm"),
    "batch_tokens": ("transformers",),
    "vllm": ("vllm",),
    "base_url": ("openai",),
    "api_key_env": ("openai",),
    "many_per_call": ("openai",),
    "extra_body": ("openai",),
}


class EngineRecipe(Strict):
    """An engine and its model.

    engine         transformers: in this process; vllm: in this process, by vLLM; openai: any server that
                   speaks OpenAI's chat completions (vLLM's, a gateway, a vendor).
    model          a hub id or a directory; for openai the name that the server knows.
    batch_tokens   transformers: prompt and completion tokens of one batch, which bound its memory.
    vllm           vllm: further arguments of `vllm.LLM`, such as tensor_parallel_size.
    base_url       openai: where the server is, up to and with /v1.
    api_key_env    openai: the environment variable that holds the key. With a base_url of one's own, no
                   key is sent unless this is given.
    many_per_call  openai: whether completions of equal settings are asked for in one call (`n`).
    extra_body     openai: further fields of the request; null takes one of pairkit's own away.
    """

    engine: Literal["transformers", "vllm", "openai"] = "transformers"
    model: str
    revision: str | None = None
    batch_tokens: PositiveInt = 32_768
    vllm: dict[str, Any] = Field(default_factory=dict)
    base_url: str = "https://api.openai.com/v1"
    api_key_env: str = "OPENAI_API_KEY"
    many_per_call: bool = True
    extra_body: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _only_what_is_read(self) -> EngineRecipe:
        for name in sorted(self.model_fields_set & _ONLY.keys()):
            if self.engine not in _ONLY[name]:
                engines = " and ".join(_ONLY[name])
                raise ValueError(f"recipe key {name!r} is for engine {engines}, this is {self.engine}")
        return self


class Budget(Strict):
    """What one run may spend; null: no bound. What the cache holds costs nothing."""

    requests: PositiveInt | None = None  # HTTP requests, repeated ones counted
    tokens: PositiveInt | None = None  # of prompts and completions, as the server counts them
    money: PositiveFloat | None = None  # in the currency of `prices`


class Price(Strict):
    """Of a million tokens."""

    input: Annotated[float, Field(ge=0)]
    output: Annotated[float, Field(ge=0)]


class CallSettings(Strict):
    """How calls to a server are made: none of it changes what a data set holds.

    concurrency  calls in flight at a time.
    timeout      seconds that one try may take.
    attempts     tries of one call before it counts as failed.
    prices       model name -> price; `budget.money` and the cost that is shown need it.
    """

    concurrency: PositiveInt = 64
    timeout: PositiveFloat = 600
    attempts: PositiveInt = 6
    budget: Budget = Budget()
    prices: dict[str, Price] = Field(default_factory=dict)
