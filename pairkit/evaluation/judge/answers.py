"""The two answers of a row and the prompt that they answer, from texts or from conversations."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product, takewhile
from typing import Any

from pairkit.evaluation.judge.layouts import Layout
from pairkit.sources.reading.chat_marks import HUMAN
from pairkit.sources.reading.literals import parse
from pairkit.sources.reading.roles import CALLERS, ROLE_NAMES, normal

Message = dict[str, str]  # role and content
Answer = str | list[Message]  # a text, or the conversation that ends in it
# A list of messages that was written as text, as by pandas.to_csv.
_MESSAGES = re.compile(r"\s*\[\s*\{\s*['\"](?:role|from|content|value)['\"]\s*:")
# HH-RLHF's dialogues.
_TURN = re.compile(r"\n\n(Human|Assistant):")


class Unusable(Exception):
    """A row that holds no pair, with the `reason` that counts name."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


def read_answers(row: Mapping[str, Any], layout: Layout) -> Iterator[tuple[list[Message], str, str]]:
    """Yield prompt, first answer and second answer; several times where a column has several answers.

    Conversations begin with the prompt that they share. Where they differ before their last turn,
    as those of Chatbot Arena with several turns, an answer is the whole rest, each turn under its role.

    Raises `Unusable`.
    """
    firsts, seconds = (_candidates(row, name, layout) for name in (layout.first, layout.second))
    for first, second in product(firsts, seconds):
        yield _pair(row, layout, first, second)


def _pair(
    row: Mapping[str, Any], layout: Layout, first: Answer, second: Answer
) -> tuple[list[Message], str, str]:
    if isinstance(first, str) != isinstance(second, str):
        raise Unusable(
            "not_text", f"one of {layout.first!r} and {layout.second!r} is a text, the other is not"
        )
    if isinstance(first, str) and isinstance(second, str):
        return _prompt(row, layout), first, second
    assert not isinstance(first, str)
    assert not isinstance(second, str)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))
    # Up to the last turn of the user that both have.
    start = max((place + 1 for place in range(same) if first[place]["role"] == "user"), default=0)
    prompt = first[:start] or (_prompt(row, layout) if layout.prompt and not layout.turns else [])
    if not prompt:
        raise Unusable("different_prompts", "the two conversations do not begin with the same question")
    return prompt, _answer(first[start:], layout.first), _answer(second[start:], layout.second)


def _answer(messages: Sequence[Message], name: str) -> str:
    if not messages or messages[-1]["role"] != "assistant":
        raise Unusable("no_answer", f"the conversation {name!r} does not end in a turn of the assistant")
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n\n".join(f"[{message['role']}]\n{message['content']}" for message in messages)


def _candidates(row: Mapping[str, Any], name: str, layout: Layout) -> list[Answer]:
    """Return the answers in a column: usually one, on each side of RewardBench 2 several."""
    value = row.get(name)
    if layout.turns:
        return [_alternate(_turns(row, str(layout.prompt)), row, name)]
    if layout.label is None and isinstance(value, list) and value:
        texts: list[Answer] = [each for each in value if isinstance(each, str)]
        if len(texts) == len(value):
            return texts
    return [_text_or_messages(value, name)]


def _text_or_messages(value: Any, name: str) -> Answer:
    if isinstance(value, str) and _MESSAGES.match(value):
        value = _parsed(value, name)
    elif isinstance(value, str) and value.startswith(HUMAN):
        value = _dialogue(value)
    if isinstance(value, str):
        return value
    messages = _messages(value)
    if messages is None:
        raise Unusable("not_text", f"field {name!r} is not a text")
    return messages


def _parsed(text: str, name: str) -> Any:
    try:
        return parse(text)
    except ValueError as error:
        detail = f"field {name!r} looks like a list of messages but {error}"
        raise Unusable("unreadable_messages", detail) from None


def _dialogue(text: str) -> list[Message]:
    """Return the turns of a dialogue as HH-RLHF writes it."""
    _, *pieces = _TURN.split(text)
    return [
        {"role": _role(name), "content": content.strip()}
        for name, content in zip(pieces[::2], pieces[1::2], strict=True)
    ]


def _messages(value: Any) -> list[Message] | None:
    """Return messages with the usual names of roles and text as content; None for what is not such a list."""
    if not isinstance(value, list) or not value:
        return None
    messages = []
    for turn in value:
        if not isinstance(turn, Mapping):
            return None
        role, content = turn.get("role") or turn.get("from"), turn.get("content")
        content = _content(turn.get("value") if content is None else content)
        if not isinstance(role, str) or content is None:
            return None
        messages.append({"role": _role(role), "content": content})
    roles = {"system", "user", "assistant"}
    return messages if all(message["role"] in roles for message in messages) else None


def _role(name: str) -> str:
    # A call of a tool is not an answer that could be shown.
    return name if normal(name) in CALLERS else ROLE_NAMES.get(normal(name), name)


def _content(content: Any) -> str | None:
    """Return a content that is a text or a list of parts of text."""
    if isinstance(content, list):
        texts = [part.get("text") if isinstance(part, Mapping) else None for part in content]
        return "".join(map(str, texts)) if texts and all(isinstance(text, str) for text in texts) else None
    return content if isinstance(content, str) else None


def _prompt(row: Mapping[str, Any], layout: Layout) -> list[Message]:
    columns = layout.prompt.split("+") if layout.prompt else []
    parts = [row.get(name) for name in columns]
    if len(parts) == 1:
        messages = _text_or_messages(parts[0], columns[0]) if isinstance(parts[0], str | list) else None
        if isinstance(messages, list) and messages[-1]["role"] == "user":
            return messages
        parts = [messages]
    # The first column is the prompt, the others may be empty.
    if parts and isinstance(parts[0], str) and all(part is None or isinstance(part, str) for part in parts):
        text = "\n\n".join(part for part in parts if part)
        if text:
            return [{"role": "user", "content": text}]
    detail = "the prompt is neither a text nor messages that end in a user turn"
    if not columns:
        detail = f"{layout.first!r} is a text, and no column is its prompt: map one with --map prompt=COLUMN"
    raise Unusable("invalid_prompt", detail)


def _turns(row: Mapping[str, Any], name: str) -> list[str]:
    """Return the texts of turns, a list or JSON of one; null is an empty text."""
    value = row.get(name)
    value = _parsed(value, name) if isinstance(value, str) else value
    if not isinstance(value, list) or not all(text is None or isinstance(text, str) for text in value):
        raise Unusable("not_text", f"field {name!r} is not a list of texts")
    return [text or "" for text in value]


def _alternate(prompts: Sequence[str], row: Mapping[str, Any], name: str) -> list[Message]:
    answers = _turns(row, name)
    if len(answers) != len(prompts):
        raise Unusable("no_answer", f"field {name!r} has {len(answers)} turns for {len(prompts)} prompts")
    return [
        {"role": role, "content": text}
        for pair in zip(prompts, answers, strict=True)
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
