"""The `eval:` block of a training recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pairkit.engines.base import Sampling
from pairkit.recipes import Strict

_OF_VERIFIER = ("split", "check", "answer")


class Generated(Strict):
    """The `eval.generate:` block of a training recipe: a benchmark that the policy answers.

    benchmark     gsm8k and ifeval: `data` is a file of the benchmark; arithmetic: the quickstart's tuning
                  problems; verifier: `data` is a built dataset, whose sets have the right answer.
    split         of the dataset, for verifier.
    check         exact, number, ifeval, or package.module:function, for verifier.
    answer        the metadata field with the right answer, for verifier.
    limit         use only the first N prompts; null: all.
    every         steps between measurements; null: those of eval_every. Always before and after training.
    max_tokens    tokens per answer.
    batch_tokens  tokens of prompts and answers that are generated at a time.
    """

    benchmark: Literal["gsm8k", "ifeval", "arithmetic", "verifier"]
    data: str | None = None
    split: str = "test"
    check: str = "number"
    answer: str = "answer"
    limit: int | None = Field(default=200, ge=1)
    every: int | None = Field(default=None, ge=1)
    max_tokens: int = Field(default=512, ge=1)
    batch_tokens: int = Field(default=32_768, ge=1)

    @model_validator(mode="after")
    def _checked(self) -> Generated:
        if self.benchmark == "arithmetic" and self.data:
            raise ValueError("eval.generate.data cannot be set with arithmetic, which makes its problems")
        if self.benchmark != "arithmetic" and not self.data:
            what = "a built dataset" if self.benchmark == "verifier" else "the benchmark's file"
            raise ValueError(f"eval.generate.data must be set for {self.benchmark}: {what}")
        for name in _OF_VERIFIER:
            if self.benchmark != "verifier" and name in self.model_fields_set:
                raise ValueError(f"eval.generate.{name} is for benchmark=verifier, not {self.benchmark}")
        return self

    @property
    def samplings(self) -> tuple[Sampling, ...]:
        """How a prompt is answered."""
        return (Sampling(temperature=0.0, top_p=1.0, seed=0, max_tokens=self.max_tokens),)


class EvalSettings(Strict):
    """The `eval:` block of a training recipe: what is measured besides the held-out sets."""

    generate: Generated | None = None
