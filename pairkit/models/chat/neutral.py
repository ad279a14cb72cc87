"""Tools, calls and results under names that no text contains, to see whether a template writes them.

A name or value that is found in a rendering may be a word of some message: "search", or 1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pairkit.models.chat.messages import parsed_json


class Neutral:
    """Replaces names, values and results by unique ones, the same name always by the same."""

    def __init__(self) -> None:
        self._unique: dict[str, str] = {}  # by what it replaces, in words

    def messages(self, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return messages with neutral calls and results; all else is as it was."""
        return [self._message(message) for message in messages]

    def tools(self, tools: Sequence[Any] | None) -> list[Any] | None:
        """Return tools with neutral names."""
        return [self._named(tool, "the tool {}") for tool in tools] if tools else None

    def lost(self, text: str) -> str | None:
        """Return the first thing that a rendering does not contain, in words; None if it has all."""
        return next((words for words, unique in self._unique.items() if unique not in text), None)

    def _of(self, kind: str, value: Any) -> str:
        words = kind.format(json.dumps(value, ensure_ascii=False))
        return self._unique.setdefault(words, f"pairkit{len(self._unique)}neutral")

    def _message(self, message: Mapping[str, Any]) -> dict[str, Any]:
        result = dict(message)
        if message["role"] == "tool" and message["content"]:
            unique = self._of("the result {} of a tool", message["content"])
            as_text = isinstance(message["content"], str)
            result["content"] = unique if as_text else [{"type": "text", "text": unique}]
        if "tool_calls" in message:
            result["tool_calls"] = [self._call(call) for call in message["tool_calls"]]
        return result

    def _call(self, call: dict[str, Any]) -> dict[str, Any]:
        call = self._named(call, "the name {} of a tool call")
        holder = call.get("function", call)
        arguments = holder.get("arguments")
        parsed_arguments = parsed_json(arguments) if isinstance(arguments, str) else None
        if isinstance(parsed_arguments, dict):
            holder["arguments"] = json.dumps(self._value(parsed_arguments))
        else:  # an object, or a text that is none
            holder["arguments"] = self._value(arguments)
        return call

    def _named(self, item: Any, kind: str) -> Any:
        """Return a copy of a tool or a call, and of its function, with a neutral name."""
        if not isinstance(item, dict):
            return item
        item = dict(item)
        if isinstance(item.get("function"), dict):
            item["function"] = self._named(item["function"], kind)
        elif isinstance(item.get("name"), str):
            item["name"] = self._of(kind, item["name"])
        return item

    def _value(self, value: Any) -> Any:
        if isinstance(value, dict):
            # Keys as they are, because a template may read those that it knows.
            return {key: self._value(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self._value(each) for each in value]
        return None if value is None else self._of("the value {} of a tool call", value)
