"""Texts that are dialogues: lists of messages that an export wrote into a text.

A text is a dialogue by its value, whatever the column: as a whole it is a list of messages (or one), written
as JSON or as Python prints it. A message is an object with a speaker (`role`, `from`; `speaker`, `sender` or
`author` with a known name) and what it says (`content`, `value`, `text`), or a pair of both, as in
`("user", "Hi")`. JSON of another kind is a text: `{"answer": 4}`, `[{"role": "admin"}]`, and
objects of unknown speakers with keys that no message has. A text that only looks like messages is refused.
The content of a message is never looked into: so a reply is written that is itself a list of messages.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pairkit.readers.written.exact_json import RepeatedKey
from pairkit.sources.reading.chat_marks import BEGINS, spelled_messages
from pairkit.sources.reading.literals import OtherKind, parse
from pairkit.sources.reading.roles import normal

ROLE_FIELDS = ("role", "from", "speaker", "sender", "author", "type")
# Also found in records of other kinds: only a known name makes a speaker of them.
COMMON = ("speaker", "sender", "author")
# Of the known names, those that pairs of texts of other kinds begin with too.
_UNCLEAR = (
    "question",
    "query",
    "answer",
    "response",
    "model",
    "agent",
    "customer",
    "client",
    "tool",
    "function",
)
CONTENT_FIELDS = ("content", "value", "text", "message", "parts")
CALL_FIELDS = ("tool_calls", "function_call")  # the second is OpenAI's form before tools: one call, no list
LANGCHAIN = ("human", "ai")  # types of its messages; others are too common to be a speaker's
WRAPPED = ("messages", "conversations", "conversation")
_OTHER_FIELDS = ("name", "weight", "id", "loss", "train", "tool_call_id", "reasoning_content", "thinking")
# The beginnings of texts that may be dialogues, for Rust's regular expressions.
MAYBE = rf"""^[\s\ufeff]*(?:["']?\s*[\[({{]|array\(|\w*Message\w*\(|-\s+\w+:)|{BEGINS}"""
_QUOTES = r"""(?:["'\\“”‘’]|&quot;|&#3[49];)*"""
_ROLE = re.compile(rf"\b(?:role|from|{'|'.join(COMMON)})\b{_QUOTES}\s*[:=]\s*{_QUOTES}(\w*)")
_CONTENT = re.compile(rf"\b(?:content|value|text|message)\b{_QUOTES}\s*[:=]")
# A list that begins with a pair of texts, of which the first is one word.
_PAIRS = re.compile(r"""\s*[\[(]\s*[\[(]\s*["'](\w+)["']\s*,\s*["']""")
_LANGCHAIN = re.compile(rf"\btype\b{_QUOTES}\s*:\s*{_QUOTES}(?:human|ai)\b")
# Also the beginning of YAML.
_MESSAGES = re.compile(r"""\s*(?:["']?\s*(?:array\()?[\[(]\s*\{|-\s+(?:role|from|content|value):)""")
_PRINTED = re.compile(r"\s*\[?\s*\w*Message\w*\(")


def dialogue_in(text: str, roles: Mapping[str, str]) -> Any | None:
    """Return the messages that a text is, None if it is a text.

    `roles` are the known names of speakers. Raises `ValueError` with what is wrong with a text that looks
    like messages and cannot be read.
    """
    text = text.lstrip("\ufeff")  # the mark of UTF-8, left by an export
    messages = spelled_messages(text)
    if messages is not None:
        return messages
    names = _ROLE.findall(text)
    says = _CONTENT.search(text) and (names or _LANGCHAIN.search(text) or _PRINTED.match(text))
    if not says and not _PAIRS.match(text):
        return None
    try:
        value = parse(text)
    except ValueError as error:
        if isinstance(error, RepeatedKey):
            raise
        if says and _looks_like_messages(text, names, roles):
            raise ValueError(f"looks like messages and {error}; write them as JSON") from None
        return None
    return _pairs_in(value, roles) or messages_in(value, roles)


def _pairs_in(value: Any, roles: Mapping[str, str]) -> list[dict[str, str]] | None:
    """Return the messages of a list of speakers and what they say, if all of them are known; else None."""
    pairs = isinstance(value, list) and all(
        isinstance(item, list) and [type(each) for each in item] == [str, str] for item in value
    )
    if not pairs or not all(normal(name) in roles and normal(name) not in _UNCLEAR for name, _ in value):
        return None
    return [{"role": name, "content": content} for name, content in value]


def _looks_like_messages(text: str, names: Sequence[str], roles: Mapping[str, str]) -> bool:
    begins = bool(names and _MESSAGES.match(text)) or bool(_PRINTED.match(text))
    return begins or (text.lstrip()[:1] == "{" and any(normal(name) in roles for name in names))


def messages_in(value: Any, roles: Mapping[str, str]) -> Any | None:
    """Return the messages that a parsed value is, None if it is something else.

    Raises `OtherKind` for a list of messages and other objects.
    """
    if isinstance(value, dict) and len(value) == 1 and next(iter(value)) in WRAPPED:
        (value,) = value.values()
    items = value if isinstance(value, list) else [value]
    if not items or not all(isinstance(item, dict) for item in items):
        return None
    # One object alone is too likely a record with an author.
    speakers = [speaker_of(item, roles if isinstance(value, list) else {}) for item in items]
    matches = [name is not None and normal(name) in roles for name in speakers]
    if None in speakers:
        if any(matches):
            raise OtherKind("holds messages and other objects")
        return None
    # Unknown speakers are named when the messages are read, unless these are records of another kind.
    plain = isinstance(value, list) and all(set(item) <= _FIELDS for item in items)
    return value if any(matches) or plain else None


_FIELDS = {"role", "from", *CONTENT_FIELDS, *CALL_FIELDS, *_OTHER_FIELDS}


def speaker_of(item: Mapping[str, Any], roles: Mapping[str, str]) -> str | None:
    """Return the speaker of an object that is a message, else None; one of `COMMON` has to be in `roles`."""
    name = next((item[field] for field in ("role", "from") if item.get(field) is not None), None)
    if name is None and item.get("type") in LANGCHAIN:
        name = item["type"]
    if name is None:
        common = (_name_in(item.get(field)) for field in COMMON)
        name = next((each for each in common if each is not None and normal(each) in roles), None)
    says = any(isinstance(item.get(field), str | list | dict) for field in CONTENT_FIELDS)
    calls = any(item.get(field) for field in CALL_FIELDS)
    return name if isinstance(name, str) and (says or calls) else None


def _name_in(value: Any) -> str | None:
    """Return a speaker's name: a text, or the role of an object, as ChatGPT's exports have it."""
    name = value.get("role") if isinstance(value, dict) else value
    return name if isinstance(name, str) else None
