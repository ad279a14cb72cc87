"""The template of a saved model: it renders by itself what the settings of a run rendered."""

from __future__ import annotations

import json
import re
from typing import Any

from pairkit.models.chat.format import ChatFormat
from pairkit.models.chat.settings import TemplateSettings

_DROP = "{%- set messages = messages | rejectattr('role', 'equalto', 'system') | list %}"
# The texts of all system turns go in front of the first user turn, as in `messages.with_system`. A content is
# a text or a list of parts, of which those without a text stay where they are.
_FOLD = (
    "{%- set folding = namespace(texts=[], messages=[], done=false) %}"
    "{%- for message in messages if message['role'] == 'system' %}"
    "{%- set text = message['content'] if message['content'] is string else "
    "message['content'] | selectattr('text', 'defined') | map(attribute='text') | join %}"
    "{%- set folding.texts = folding.texts + [text] %}{%- endfor %}"
    "{%- for message in messages if message['role'] != 'system' %}"
    "{%- if message['role'] == 'user' and folding.texts and not folding.done %}"
    "{%- set folding.done = true %}"
    "{%- if message['content'] is string %}"
    "{%- set content = (folding.texts + [message['content']]) | join('\\n\\n') %}"
    "{%- else %}{%- set into = namespace(parts=[], done=false) %}"
    "{%- for part in message['content'] %}"
    "{%- if part['text'] is defined and not into.done %}{%- set into.done = true %}"
    "{%- set text = (folding.texts + [part['text']]) | join('\\n\\n') %}"
    "{%- set into.parts = into.parts + [dict(part, text=text)] %}"
    "{%- else %}{%- set into.parts = into.parts + [part] %}{%- endif %}{%- endfor %}"
    "{%- if not into.done %}"
    "{%- set text = {'type': 'text', 'text': folding.texts | join('\\n\\n')} %}"
    "{%- set into.parts = into.parts + [text] %}{%- endif %}"
    "{%- set content = into.parts %}{%- endif %}"
    "{%- set folding.messages = folding.messages + [dict(message, content=content)] %}"
    "{%- else %}{%- set folding.messages = folding.messages + [message] %}{%- endif %}{%- endfor %}"
    "{%- set messages = folding.messages %}"
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def saved_template(format: ChatFormat) -> str | dict[str, str] | None:
    """Return the chat template to save with a tokenizer: with the settings as its defaults.

    Arguments given to the saved template override those of the settings. None for raw text.
    """
    own, settings = format.own_template, format.settings
    if own and not format.prefill():
        settings = settings.model_copy(update={"prefill": ""})  # the template writes it already
    if isinstance(own, dict):
        return {name: _with_settings(text, settings) for name, text in own.items()}
    return _with_settings(own, settings) if own else None


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
