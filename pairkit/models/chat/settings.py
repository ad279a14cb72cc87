"""The `template:` block of every recipe: how messages become the text that a model reads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import Field, field_validator

from pairkit.recipes import Strict

# What transformers takes for itself, so that a template cannot have it as an argument.
RESERVED = frozenset(
    {
        *("conversation", "messages", "tools", "chat_template", "add_generation_prompt", "tokenize"),
        *("continue_final_message", "sanitize_control_tokens", "padding", "truncation", "max_length"),
        *("return_tensors", "return_dict", "return_assistant_tokens_mask", "tokenizer_kwargs"),
    }
)


def reserved(names: Iterable[str]) -> str | None:
    """Describe which of the names of arguments is taken, and what to do; None if none is."""
    name = next(iter(sorted(RESERVED.intersection(names))), None)
    if name is None:
        return None
    instead = {
        "tools": "tools are the column `tools` of a set",
        "chat_template": "set template.file to a template",
    }.get(name, "remove it")
    return f"{name!r} is reserved, and no argument of the template: {instead}"


class TemplateSettings(Strict):
    """How the chat template is applied. It means the same in build, train and judge recipes.

    kwargs   arguments of the template, such as {enable_thinking: false}; the column
             `chat_template_kwargs` of a set overrides them one by one.
    file     a Jinja file to use instead of the tokenizer's own template; saved with the tokenizer.
    system   a system turn is kept, folded into the first user turn (for templates without system turns),
             or dropped.
    prefill  text that is written after the generation prompt, as its end; a completion follows it.
    """

    kwargs: dict[str, Any] = Field(default_factory=dict)
    file: str | None = None
    system: Literal["keep", "fold", "drop"] = "keep"
    prefill: str = ""

    @field_validator("kwargs")
    @classmethod
    def _none_is_reserved(cls, kwargs: dict[str, Any]) -> dict[str, Any]:
        if problem := reserved(kwargs):
            raise ValueError(f"recipe key 'template.kwargs': {problem}")
        return kwargs


# A recipe's value: settings, or "none" for raw text without any template.
Template = TemplateSettings | Literal["none"]


def uses_own(template: Template) -> bool:
    """Return whether conversations are rendered by the tokenizer's own template."""
    return template != "none" and template.file is None
