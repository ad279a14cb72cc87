"""Messages as chat templates take them: no empty fields, calls as objects, texts without control tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from pairkit.errors import ModelError
from pairkit.json_depth import MAX_LEVELS, is_deep_text
from pairkit.models.chat.hidden import Hiding
from pairkit.models.chat.marks import Own
from pairkit.models.chat.render import Messages

Message = Mapping[str, Any]  # a row of `schema.MESSAGE`, null fields allowed
Arguments = Literal["object", "text"]  # how a template reads the arguments of a call
_SHOWN = 200  # characters of a text that a message quotes


class PromptRefused(ModelError):
    """A prompt or a message that a template cannot render, with the `reason` that counts name."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


def for_template(
    message: Message, hiding: Hiding, own: Own, *, thought: str, parts: bool, arguments: Arguments
) -> dict[str, Any]:
    """Return a message in the form that a template reads.

    Args:
        own: what the model writes itself; in an assistant's content it remains what it is.
        thought: the field in which the template reads a thought.
        parts: the content is a list of parts, as templates of multimodal models read it.
        arguments: how the arguments of calls are given.
    """
    role, content = message["role"], message.get("content") or ""
    content = hiding.text(content, own if role == "assistant" else None)
    form: dict[str, Any] = {
        "role": role,
        "content": [{"type": "text", "text": content}] if parts else content,
    }
    for name in ("tool_call_id", "name"):
        if message.get(name) is not None:
            form[name] = hiding.text(message[name])
    if message.get("reasoning_content") is not None:
        form[thought] = hiding.text(message["reasoning_content"])
    if message.get("tool_calls") is not None:
        form["tool_calls"] = [
            hiding.value(_call(call, arguments))
            for call in from_json(message["tool_calls"], list, "tool_calls")
        ]
    return form


def _call(call: dict[str, Any], arguments: Arguments) -> dict[str, Any]:
    """Return a call whose arguments are an object or JSON, as the template reads them."""
    if not isinstance(call, dict):
        raise PromptRefused("template_refused", f"tool_calls: a call must be an object, got {call!r}")
    function = call.get("function")
    holder = function if isinstance(function, dict) else call
    value = holder.get("arguments")
    if arguments == "object" and isinstance(value, str):
        parsed_value = parsed_json(value)
        value = parsed_value if isinstance(parsed_value, dict) else value
    elif arguments == "text" and not isinstance(value, str):
        value = json.dumps(value, ensure_ascii=False)
    holder = {**holder, "arguments": value}
    return {**call, "function": holder} if isinstance(function, dict) else holder


def from_json(text: str, kind: type[list[Any]] | type[dict[str, Any]], field: str) -> Any:
    """Read a JSON column. Raises `PromptRefused` for what is not JSON of that kind."""
    if is_deep_text(text):
        detail = f"{field} must be nested at most {MAX_LEVELS} levels deep, got {text[:_SHOWN]!r}..."
        raise PromptRefused("template_refused", detail)
    value = parsed_json(text)
    if not isinstance(value, kind):
        name = "list" if kind is list else "object"
        excerpt = f"{text!r}" if len(text) <= _SHOWN else f"{text[:_SHOWN]!r}..."
        raise PromptRefused("template_refused", f"{field} must be a JSON {name}, got {excerpt}")
    return value


def parsed_json(text: str) -> Any:
    """Return the value of a JSON text; None for one that is not JSON, or is nested beyond `MAX_LEVELS`."""
    if is_deep_text(text):
        return None
    try:
        return json.loads(text, parse_constant=_no_json)
    except ValueError:
        return None


def _no_json(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def with_system(messages: Messages, system: Literal["keep", "fold", "drop"]) -> list[Message]:
    """Return messages with their system turns kept, folded into the first user turn, or dropped.

    >>> turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    >>> with_system(turns, "fold")
    [{'role': 'user', 'content': 'Be brief.\\n\\nHello'}]

    Raises `PromptRefused` for "fold" where no user turn is.
    """
    texts = [str(message.get("content") or "") for message in messages if message["role"] == "system"]
    if system == "keep" or not texts:
        return list(messages)
    rest = [message for message in messages if message["role"] != "system"]
    if system == "drop":
        return rest
    first = next((i for i, message in enumerate(rest) if message["role"] == "user"), None)
    if first is None:
        detail = "template.system=fold, but there is no user turn that the system turn could be folded into"
        raise PromptRefused("template_refused", detail)
    texts.append(str(rest[first].get("content") or ""))
    rest[first] = {**rest[first], "content": "\n\n".join(texts)}
    return rest


def spoken(calls: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    """Yield what has to be found in a rendering of calls; any one of the forms of each tuple will do."""
    for call in calls:
        function = call.get("function", call)
        yield (str(function.get("name")),)
        arguments = function.get("arguments")
        if isinstance(arguments, str):
            arguments = parsed_json(arguments) or arguments
        yield from _leaves(arguments)


def _leaves(value: Any) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _leaves(key)
            yield from _leaves(each)
    elif isinstance(value, list):
        for each in value:
            yield from _leaves(each)
    elif isinstance(value, str):
        # As it is, stripped, or as within JSON.
        yield (value.strip(), json.dumps(value, ensure_ascii=False)[1:-1], json.dumps(value)[1:-1])
    elif value is not None:
        yield (json.dumps(value), str(value))
