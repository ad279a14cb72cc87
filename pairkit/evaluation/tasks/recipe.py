"""The settings of `pairkit eval tasks`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, field_validator

from pairkit.models.names import is_local, public_name
from pairkit.recipes import Strict


class TasksRecipe(Strict):
    """A model, and tasks of lm-eval that it is measured on.

    model                a Hub id or a directory; transformers computes its log-likelihoods.
    revision             of the model on the Hub.
    name                 the name of the model in results; null: that of `model`.
    tasks                names of lm-eval: tasks, groups or tags.
    fewshot              examples in the prompt, instead of the task's own number.
    apply_chat_template  render prompts with the model's chat template.
    include              directories with further task files of lm-eval.
    batch_size           prompts per pass.
    seed                 of few-shot examples and resampling.
    engine               transformers; no other one gives log-likelihoods here.
    """

    model: str
    revision: str | None = None
    name: str | None = None
    tasks: tuple[str, ...] = Field(min_length=1)
    fewshot: Annotated[int, Field(ge=0)] = 0
    apply_chat_template: bool = False
    include: tuple[str, ...] = ()
    batch_size: PositiveInt = 8
    seed: int = 0
    engine: Literal["transformers"] = "transformers"

    @field_validator("tasks", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        return [name for name in value.split(",") if name] if isinstance(value, str) else value

    @field_validator("engine", mode="before")
    @classmethod
    def _transformers(cls, value: object) -> object:
        if value in ("vllm", "openai"):
            raise ValueError(
                f"{value!r} computes no tasks: lm-eval asks the model for log-likelihoods through "
                "transformers alone; leave engine out"
            )
        return value

    @property
    def shown_name(self) -> str:
        """The name of the model in results."""
        return self.name or public_name(self.model, local=is_local(self.model))
