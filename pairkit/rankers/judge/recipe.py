"""The settings of the ranker `judge`."""

from __future__ import annotations

import operator
from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from pairkit.engines.recipe import EngineRecipe
from pairkit.engines.table import ENGINES
from pairkit.rankers.thoughts import Thoughts

Protocol = Literal["iterative", "round_robin", "pointwise", "listwise"]
Kind = Literal["pairwise", "pointwise", "listwise"]
# The kind of prompt that each protocol needs.
KINDS: dict[Protocol, Kind] = {
    "iterative": "pairwise",
    "round_robin": "pairwise",
    "pointwise": "pointwise",
    "listwise": "listwise",
}
ASPECTS = ("helpfulness", "honesty", "instruction_following", "truthfulness")
PROMPTS: dict[Kind, str] = {"pairwise": "mcpo", "listwise": "nectar"}


class JudgeRecipe(EngineRecipe):
    """An LLM as judge: the engine that runs it, and how it is asked.

    protocol           iterative: the winner of a comparison meets the next completion, K-1 comparisons
                       (MC-PO); round_robin: every pair, Bradley-Terry; pointwise: one rating per
                       aspect, averaged; listwise: all K completions at once.
    prompt             the name of a shipped prompt, or a file; null: mcpo for comparisons, nectar for lists.
    aspects            pointwise: names of shipped rubrics, or files; null: UltraFeedback's four.
    both_orders        whether each comparison is also asked in the reverse order.
    attempts           how many times a question is asked at most, until its verdict can be read.
    temperature        of the first attempt.
    retry_temperature  of the other attempts: at temperature 0 a judge would repeat its answer.
    max_tokens         of an answer, including the judge's explanation.
    structured         engines openai and vllm: answers are JSON, and the engine enforces their form; a server
                       that cannot is asked as the prompt says.
    thoughts           strip: the judge is shown completions without the thought that they begin with;
                       show: with it.
    """

    protocol: Protocol = "iterative"
    prompt: str | None = None
    aspects: tuple[str, ...] | None = Field(default=None, min_length=1)
    both_orders: bool = True
    attempts: PositiveInt = 3
    temperature: Annotated[float, Field(ge=0)] = 0.0
    retry_temperature: Annotated[float, Field(ge=0)] = 0.7
    max_tokens: PositiveInt = 2048
    thoughts: Thoughts = "strip"
    # Only where it is set, because a further field would change the identity of all other datasets.
    structured: bool = Field(default=False, exclude_if=operator.not_)

    @model_validator(mode="after")
    def _only_what_the_protocol_reads(self) -> JudgeRecipe:
        unread = ("prompt", "both_orders") if self.protocol == "pointwise" else ("aspects",)
        for name in unread:
            # null is no setting: it returns a field of a shipped recipe to its default.
            if name in self.model_fields_set and getattr(self, name) is not None:
                raise ValueError(
                    f"recipe key {name!r} does not apply to the protocol {self.protocol}: remove it"
                )
        if self.structured and not ENGINES[self.engine].structured:
            able = " or ".join(engine for engine, row in ENGINES.items() if row.structured)
            raise ValueError(
                f"recipe key '{self.place}structured': engine {self.engine} cannot enforce the form of an "
                f"answer: set engine={able}, or remove it"
            )
        return self

    def questions(self, completions: int) -> int:
        """Return how many questions a set of so many different completions takes."""
        if self.protocol == "pointwise":
            return len(self.prompts) * completions
        if completions < 2:
            return 0
        pairs = {
            "iterative": completions - 1,
            "round_robin": completions * (completions - 1) // 2,
            "listwise": 1,
        }
        return pairs[self.protocol] * (2 if self.both_orders else 1)

    @property
    def prompts(self) -> tuple[str, ...]:
        """The names or files of the prompts that the protocol needs."""
        kind = KINDS[self.protocol]
        if kind == "pointwise":
            return self.aspects or ASPECTS
        # The prompts of the papers whose protocols these are.
        return (self.prompt or PROMPTS[kind],)
