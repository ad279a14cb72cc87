"""Answers that come as a stream of server-sent events, joined to the answer that they are pieces of.

Some servers and proxies only stream, whatever they were asked for.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from io import StringIO
from itertools import pairwise
from typing import Any

# Fields of a piece that are no part of a text.
_WHOLE = frozenset({"role", "type", "id", "index"})


def is_stream(content: bytes) -> bool:
    """Return whether the body of an answer is a stream of events; a line with ":" is a comment in one."""
    return content.lstrip().startswith((b"data:", b"event:", b"id:", b":"))


def joined(content: bytes) -> dict[str, Any] | None:
    """Join the events of an answer, or return the one that is an error; None if the stream broke off.

    Raises `ValueError` for an event that is not JSON, or of another form.
    """
    answer: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    ended = False
    for data in _events(content):
        if data == "[DONE]":
            ended = True
            continue
        event = _object(json.loads(data))
        if event.get("error") or event.get("object") == "error":
            # Without its choices, whose pieces are of an answer that is lost.
            return {name: value for name, value in event.items() if name != "choices"}
        for name, value in event.items():
            if name != "choices" and value is not None:
                answer[name] = value
        for piece in map(_object, _list(event.get("choices"))):
            place = piece.get("index")
            empty: dict[str, Any] = {"message": {}, "messages": [], "finish_reason": None}
            _add(choices.setdefault(place if isinstance(place, int) else 0, empty), piece)
    if not ended and not all(choice["finish_reason"] for choice in choices.values()):
        return None
    listed = [{"index": index, **_closed(choices[index])} for index in sorted(choices)]
    # Without choices, what was sent instead of them may be an error.
    return {**answer, "choices": listed} if listed else answer


def _events(content: bytes) -> Iterator[str]:
    """Yield the data of each event; an event of several lines has several lines of data."""
    data: list[str] = []
    # Not splitlines, which also splits at characters that texts may contain.
    for line in [
        *content.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n").split("\n"),
        "",
    ]:
        if line.startswith("data:"):
            data.append(line.removeprefix("data:").removeprefix(" "))
        elif not line and data:
            yield "\n".join(data)
            data = []


def _add(choice: dict[str, Any], piece: Mapping[str, Any]) -> None:
    """Add a piece to its choice."""
    if piece.get("finish_reason"):
        choice["finish_reason"] = piece["finish_reason"]
    if piece.get("error"):
        choice["error"] = piece["error"]
    delta = _object(piece.get("delta"))
    if logprobs := _object(piece.get("logprobs")):
        _extend(choice.setdefault("logprobs", {}), logprobs)
    if message := _object(piece.get("message")):
        choice["messages"].append(message)
    if "text" in piece:
        delta = {"content": piece["text"], **delta}
    for call in map(_object, _list(delta.get("tool_calls"))):
        calls, place = choice.setdefault("calls", {}), call.get("index")
        _extend(calls.setdefault(place if isinstance(place, int) else len(calls), {}), call)
    _extend(choice["message"], {name: value for name, value in delta.items() if name != "tool_calls"})


def _extend(whole: dict[str, Any], piece: Mapping[str, Any]) -> None:
    """Append the texts and lists of a piece to those of a whole, which `_read` returns."""
    for name, value in piece.items():
        before = whole.get(name)
        if isinstance(value, Mapping):
            if not isinstance(before, dict):
                before = whole[name] = {}
            _extend(before, value)
        # Files in memory, because adding to a text copies all of it.
        elif isinstance(value, str) and name not in _WHOLE:
            if not isinstance(before, StringIO):
                before = whole[name] = StringIO(newline="")
            before.write(value)
        elif isinstance(value, list) and isinstance(before, list):
            before.extend(value)
        elif value is not None or name not in whole:
            whole[name] = list(value) if isinstance(value, list) else value


def _read(whole: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `_extend` has joined."""
    return {
        name: value.getvalue()
        if isinstance(value, StringIO)
        else _read(value)
        if isinstance(value, dict)
        else value
        for name, value in whole.items()
    }


def _object(value: Any) -> Mapping[str, Any]:
    """Return an object, empty for null. Raises `ValueError` for anything else."""
    if value is not None and not isinstance(value, Mapping):
        raise ValueError(f"{str(value)[:80]!r} is no object")
    return value or {}


def _list(value: Any) -> list[Any]:
    if value is not None and not isinstance(value, list):
        raise ValueError(f"{str(value)[:80]!r} is no list")
    return value or []


def _closed(choice: dict[str, Any]) -> dict[str, Any]:
    """Return a choice whose pieces have all been added."""
    message, calls = _read(choice.pop("message")), choice.pop("calls", {})
    if calls:
        message["tool_calls"] = [_read(calls[index]) for index in sorted(calls)]
    for name, value in _of_messages(choice.pop("messages")).items():
        # Where there are deltas, messages repeat them, and the last one may have more.
        if not message.get(name) or _begins(value, message[name]):
            message[name] = value
    return {"message": message, **choice}


def _of_messages(messages: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Join the messages of a choice, which are pieces, or the whole if each begins with the last."""
    fields: defaultdict[str, list[Any]] = defaultdict(list)
    for message in messages:
        for name, value in message.items():
            fields[name] += [value] if value else []
    whole: dict[str, Any] = {}
    for name, values in fields.items():
        if not all(_begins(later, earlier) for earlier, later in pairwise(values)):
            for value in values:
                _extend(whole, {name: value})
        elif values:
            whole[name] = values[-1]
    return _read(whole)


def _begins(whole: Any, part: Any) -> bool:
    """Return whether a text or list begins with another one."""
    return isinstance(whole, (str, list)) and type(whole) is type(part) and whole[: len(part)] == part
