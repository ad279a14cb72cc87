"""The `record:` block of a training recipe: what a run writes about itself besides losses and log-probs."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator, model_validator

from pairkit.engines.base import Sampling, sample_seed
from pairkit.recipes import Strict
from pairkit.training.step.saving import Interval, interval_of

PREFIX = "record.samples"


class SampleSettings(Strict):
    """The `record.samples:` block: what the policy writes to held-out prompts while it is trained.

    every         steps between samples, or "epoch"; null: no samples. Always before and after training.
    prompts       the first N held-out prompts.
    per_prompt    samples of each prompt.
    temperature, top_p, max_tokens  how they are sampled.
    batch_tokens  tokens of prompts and samples that are generated at a time.
    check         exact, number, or package.module:function, which scores the samples; null: no scores.
    answer        the metadata field with the right answer, for `check`.
    """

    every: Interval = None
    prompts: int = Field(default=64, ge=1)
    per_prompt: int = Field(default=1, ge=1)
    temperature: float = Field(default=1.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_tokens: int = Field(default=256, ge=1)
    batch_tokens: int = Field(default=32_768, ge=1)
    check: str | None = None
    answer: str = "answer"

    @field_validator("every", mode="before")
    @classmethod
    def _interval(cls, value: Any) -> Any:
        return interval_of(f"{PREFIX}.every", value)

    @model_validator(mode="after")
    def _checked(self) -> SampleSettings:
        defaults = type(self).model_fields
        for name in defaults:
            if self.every is None and getattr(self, name) != defaults[name].default:
                raise ValueError(
                    f"{PREFIX}.{name} has no effect without samples: set {PREFIX}.every, such as "
                    f"{PREFIX}.every=epoch, or remove it"
                )
        if self.check is None and self.answer != defaults["answer"].default:
            raise ValueError(f"{PREFIX}.answer is for a check: set {PREFIX}.check, or remove it")
        return self

    def samplings(self, seed: int, set_id: str) -> tuple[Sampling, ...]:
        """Return how a prompt is sampled, with the same random numbers at every step."""
        return tuple(
            Sampling(self.temperature, self.top_p, sample_seed(seed, set_id, number), self.max_tokens)
            for number in range(self.per_prompt)
        )


class Record(Strict):
    """The `record:` block of a training recipe; nothing of it changes the weights.

    figures      log-ratios, the contrastive logit, divergences and the sampler's probabilities, in the
                 metrics of steps and evaluations.
    pairs        a file per evaluation with the log-probs of each completion.
    report_sets  training sets in these files; held-out ones are there all.
    kl           at evaluations the reference runs next to the policy, whatever the loss needs.
    samples      what the policy writes.
    """

    figures: bool = False
    pairs: bool = False
    report_sets: int = Field(default=256, ge=0)
    kl: bool = False
    samples: SampleSettings = SampleSettings()

    @property
    def asked(self) -> bool:
        """Whether anything is recorded."""
        return self.figures or self.pairs or self.samples.every is not None

    @model_validator(mode="after")
    def _checked(self) -> Record:
        if self.kl and not (self.figures or self.pairs):
            raise ValueError(
                "record.kl computes divergences for record.figures and record.pairs: set one of them, or "
                "remove it"
            )
        if not self.pairs and self.report_sets != type(self).model_fields["report_sets"].default:
            raise ValueError("record.report_sets is for the files of record.pairs: set it, or remove this")
        return self
