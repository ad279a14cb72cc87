"""The template of a saved model: it renders by itself what the settings of a run rendered."""

from __future__ import annotations

import json
import re
from typing import Any

from pairkit.models.chat.format import ChatFormat
from pairkit.models.chat.settings import TemplateSettings

_DROP = "{%- set messages = messages | rejectattr('role', 'equalto', 'system') | list %}"
# The texts of all system turns go in front of the first user turn, as in `messages.with_system`.
_FOLD = (
    "{%- set folding = namespace(texts=[], messages=[], done=false) %}"
    "{%- for message in messages if message['role'] == 'system' %}"
    "{%- set folding.texts = folding.texts + [message['content']] %}{%- endfor %}"
    "{%- for message in messages if message['role'] != 'system' %}"
    "{%- if message['role'] == 'user' and folding.texts and not folding.done %}"
    "{%- set folding.done = true %}"
    "{%- set text = (folding.texts + [message['content']]) | join('\\n\\n') %}"
    "{%- set folding.messages = folding.messages + [dict(message, content=text)] %}"
    "{%- else %}{%- set folding.messages = folding.messages + [message] %}{%- endif %}{%- endfor %}"
    "{%- set messages = folding.messages %}"
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def saved_template(format: ChatFormat) -> str | dict[str, str] | None:
    """Return the chat template to save with a tokenizer: with the settings as its defaults.

    Arguments given to the saved template override those of the settings. None for raw text.
    """
    own = format.own_template
    if isinstance(own, dict):
        return {name: _with_settings(text, format.settings) for name, text in own.items()}
    return _with_settings(own, format.settings) if own else None


def _with_settings(template: str, settings: TemplateSettings) -> str:
    before = "".join(
        f"{{%- if {name} is not defined %}}{{%- set {name} = {_literal(value)} %}}{{%- endif %}}"
        for name, value in settings.kwargs.items()
        if _NAME.fullmatch(name)
    )
    before += {"keep": "", "drop": _DROP, "fold": _FOLD}[settings.system]
    after = ""
    if settings.prefill:
        after = f"{{%- if add_generation_prompt %}}{{{{- {_literal(settings.prefill)} }}}}{{%- endif %}}"
    if after:
        # What a template ends in is part of what it renders, and `{%-` would strip it.
        after = after.replace("{%-", "{%", 1)
    return before + template + after


def _literal(value: Any) -> str:
    """Write a JSON value as jinja reads it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_literal(key)}: {_literal(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_literal, value)) + "]"
    if isinstance(value, str):
        # Jinja reads escapes as Python does, and JSON's pairs of surrogates not at all.
        text = value.encode("unicode_escape").decode("ascii").replace("'", "\\'")
        return f"'{text}'"
    return "none" if value is None else json.dumps(value)
