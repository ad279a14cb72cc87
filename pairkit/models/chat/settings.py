"""The `template:` block of every recipe: how messages become the text that a model reads."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from pairkit.recipes import Strict


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


# A recipe's value: settings, or "none" for raw text without any template.
Template = TemplateSettings | Literal["none"]
