"""Answers that come as a stream of server-sent events, joined to the answer that they are pieces of.

Some servers and proxies only stream, whatever they were asked for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from io import StringIO
from itertools import pairwise
from typing import Any

from pairkit.engines.openai.messages import THOUGHTS
from pairkit.engines.openai.wire import Unreadable, decoded, loads

# Fields of a piece that are no part of a text.
_WHOLE = frozenset({"role", "type", "id", "index"})
# Fields that are a text or a list of parts.
_OF_PARTS = frozenset({"content", *THOUGHTS})
_MIXED = "the stream has pieces of {!r} that do not fit together"


def is_stream(content: bytes) -> bool:
    """Return whether the body of an answer is a stream of events; a line with ":" is a comment in one."""
    return content.lstrip().startswith((b"data:", b"event:", b"id:", b":"))


def joined(content: bytes) -> dict[str, Any] | None:
    """Join the events of an answer, or return the one that is an error; None if the stream broke off.

    Raises `ValueError` for an event that is not JSON, or of another form, and `Unreadable`.
    """
    answer: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    ended = False
    for data in _events(content):
        if data == "[DONE]":
            ended = True
            continue
        event = _object(loads(data))
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
    entries = [{"index": index, **_closed(choices[index])} for index in sorted(choices)]
    # Without choices, what was sent instead of them may be an error.
    return {**answer, "choices": entries} if entries else answer


def _events(content: bytes) -> Iterator[str]:
    """Yield the data of each event; an event of several lines has several lines of data."""
    data: list[str] = []
    # Not splitlines, which also splits at characters that texts may contain.
    for line in [
        *decoded(content).replace("\r\n", "\n").replace("\r", "\n").split("\n"),
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
        if delta.get("content") and piece["text"] not in (None, "", delta["content"]):
            raise Unreadable(_MIXED.format("text"))
        delta = {"content": piece["text"], **delta}
    for call in map(_object, _list(delta.get("tool_calls"))):
        calls, place = choice.setdefault("calls", {}), call.get("index")
        _extend(calls.setdefault(place if isinstance(place, int) else len(calls), {}), call)
    _extend(choice["message"], {name: value for name, value in delta.items() if name != "tool_calls"})


def _extend(whole: dict[str, Any], piece: Mapping[str, Any]) -> None:
    """Append the texts and lists of a piece to those of a whole, which `_read` returns.

    Raises `Unreadable` for pieces of which one would be lost.
    """
    for name, value in piece.items():
        before = whole.get(name)
        if value is None:
            whole.setdefault(name, None)
        elif name in _WHOLE or not isinstance(value, (str, list, Mapping)):
            if isinstance(before, (StringIO, list, dict)):
                raise Unreadable(_MIXED.format(name))
            whole[name] = value
        elif before is None:
            whole[name] = _begun(value)
        elif isinstance(before, StringIO) and isinstance(value, str):
            before.write(value)
        elif isinstance(before, dict) and isinstance(value, Mapping):
            _extend(before, value)
        elif isinstance(before, list) and isinstance(value, list):
            before.extend(value)
        elif name in _OF_PARTS and isinstance(before, (StringIO, list, dict)):
            # Some servers stream a thought as parts, and then the text as a text.
            whole[name] = [*_as_parts(_plain(before)), *_as_parts(value)]
        else:
            raise Unreadable(_MIXED.format(name))


def _begun(value: str | list[Any] | Mapping[str, Any]) -> Any:
    """Return the first piece in the form that more are added to."""
    if isinstance(value, str):
        # A file in memory, because adding to a text copies all of it.
        text = StringIO(newline="")
        text.write(value)
        return text
    if isinstance(value, list):
        return list(value)
    whole: dict[str, Any] = {}
    _extend(whole, value)
    return whole


def _as_parts(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [value]


def _plain(value: Any) -> Any:
    if isinstance(value, StringIO):
        return value.getvalue()
    return _read(value) if isinstance(value, dict) else value


def _read(whole: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `_extend` has joined."""
    return {name: _plain(value) for name, value in whole.items()}


def _object(value: Any) -> Mapping[str, Any]:
    """Return an object, empty for null. Raises `ValueError` for anything else."""
    if value is not None and not isinstance(value, Mapping):
        raise ValueError(f"{str(value)[:80]!r} is not an object")
    return value or {}


def _list(value: Any) -> list[Any]:
    if value is not None and not isinstance(value, list):
        raise ValueError(f"{str(value)[:80]!r} is not a list")
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
        elif isinstance(value, str) and value.strip() not in str(message[name]):
            raise Unreadable(_MIXED.format(name))
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
