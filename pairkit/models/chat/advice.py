"""What to set where a template refuses messages: found by trying."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from pairkit.errors import ModelError
from pairkit.models.chat.shape import Apply

THINKING = ("enable_thinking", "thinking")  # arguments with which templates turn thoughts off
_FIELDS: dict[str, Any] = {"description": "", "parameters": {"type": "object", "properties": {}}}


def advice(
    apply: Apply,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Any] | None,
    arguments: Mapping[str, Any],
) -> str:
    """Return what to set for a prompt that the template refuses."""
    rest = [message for message in messages if message["role"] != "system"]
    if rest and len(rest) < len(messages):
        with suppress(ModelError):
            apply(rest, tools, arguments, True)
            return "set template.system=fold or drop"
    if tools and (lacking := _lacking(tools)):
        with suppress(ModelError):
            apply(messages, [_completed(tool) for tool in tools], arguments, True)
            return f"the template reads what {lacking}; add it to the column `tools`, or set template.file"
    if tools or any("tool_calls" in message or message["role"] == "tool" for message in messages):
        return "set template.file to a template that renders tool calls and their results"
    return "set template.file to a template that takes these messages"


def _lacking(tools: Sequence[Any]) -> str:
    """Describe which fields of its function the first incomplete tool lacks; "" where none is incomplete."""
    for function in map(_function, tools):
        missing = [f"`{name}`" for name in _FIELDS if name not in function]
        if missing:
            return f"the tool {function.get('name')!r} lacks: {' and '.join(missing)}"
    return ""


def _completed(tool: Any) -> Any:
    """Return a tool with every field that templates read."""
    whole = {**_FIELDS, **_function(tool)}
    return {**tool, "function": whole} if isinstance(tool, dict) and "function" in tool else whole


def _function(tool: Any) -> dict[str, Any]:
    function = tool.get("function", tool) if isinstance(tool, dict) else {}
    return function if isinstance(function, dict) else {}


def opening_advice(opens: Callable[[Mapping[str, Any]], bool | None], arguments: Mapping[str, Any]) -> str:
    """Return what to set so that a template's generation prompt opens no thought.

    Args:
        opens: whether it does with the arguments that it is given; None where the template refuses them.
    """
    if opens(arguments) is False:
        return "leave template.prefill out"
    names = (name for name in THINKING if opens({**arguments, name: False}) is False)
    if name := next(names, None):
        return f"set template.kwargs.{name}=false"
    return "set template.file to a template that opens none"


def thinking_advice(write: Callable[[Mapping[str, Any]], str], arguments: Mapping[str, Any]) -> str | None:
    """Return what to set where a template writes an answer only with thinking turned on, or only off.

    Args:
        write: writes the answer with the arguments that it is given.
    """
    for value in (True, False):
        with suppress(ModelError):
            write({**arguments, "enable_thinking": value})
            return (
                f"the template writes this message only {'with' if value else 'without'} thinking; set "
                f"template.kwargs.enable_thinking={json.dumps(value)}"
            )
    return None
