"""Where the assistant's turns are in a rendered dialogue: by generation marks, else by prefixes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pairkit.models.chat import written
from pairkit.models.chat.limits import limited
from pairkit.models.chat.shape import ANSWERS, Apply

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Messages = Sequence[Mapping[str, Any]]
Span = tuple[int, int]  # characters
_MARKED = re.compile(r"\{%-?\s*generation\s*-?%\}")


def marked_spans(
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    messages: Messages,
    tools: Sequence[Any] | None,
    arguments: Mapping[str, Any],
) -> list[Span]:
    """Return what a template marks as written by the model; nothing for a template without marks."""
    if not _MARKED.search(template):
        return []
    from transformers.utils.chat_template_utils import render_jinja_template

    with limited():
        _, (spans,) = render_jinja_template(
            [list(messages)],
            tools=list(tools) if tools else None,
            chat_template=template,
            return_assistant_tokens_mask=True,
            add_generation_prompt=True,
            **{**tokenizer.special_tokens_map, **arguments},
        )
    return [(start, stop) for start, stop in spans if start < stop]


def prefix_spans(
    apply: Apply,
    messages: Messages,
    tools: Sequence[Any] | None,
    arguments: Mapping[str, Any],
    text: str,
    end: str,
    control: re.Pattern[str],
) -> list[Span] | None:
    """Find the assistant's turns by rendering what comes before each, with the generation prompt.

    Args:
        text: the rendering of all messages.
        end: what ends a plain answer; "" where only EOS would, which a dialogue does not contain.

    Returns:
        The turns with what ends them; None where a turn does not follow its own generation prompt, or holds
        the result of a tool, which the model did not write.
    """
    spans = []
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before = apply(messages[:index], tools, arguments, True)
        if not text.startswith(before):
            return None
        with_turn = _without_tail(apply(messages[: index + 1], tools, arguments, False), control)
        stop: int | None = len(with_turn)
        if not (text.startswith(with_turn) and len(with_turn) > len(before)):
            neutral = [*messages[:index], _with(message, ANSWERS[0]), *messages[index + 1 :]]
            # That of a call is not needed, and some templates refuse a call with a content.
            other = "" if message.get("tool_calls") else apply(neutral, tools, arguments, True)
            stop = _stop(message, text, other, len(before), end, control)
        if stop is None:
            return None
        spans.append((len(before), stop))
    places = _results(apply, messages, tools, arguments, text) if spans else []
    within = any(start <= place < stop for place in places for start, stop in spans)
    return None if within else spans


def _results(
    apply: Apply, messages: Messages, tools: Sequence[Any] | None, arguments: Mapping[str, Any], text: str
) -> list[int]:
    """Return where results of tools are in a rendering: where it changes if a result is another."""
    places = []
    for index, message in enumerate(messages):
        if message["role"] == "tool":
            content = message["content"]
            # Another first character, so that the renderings differ where the result begins.
            other = "b" if _plain(content).startswith("a") else "a"
            new_content = other if isinstance(content, str) else [{"type": "text", "text": other}]
            changed_messages = [
                *messages[:index],
                {**message, "content": new_content},
                *messages[index + 1 :],
            ]
            rendering = apply(changed_messages, tools, arguments, True)
            pairs = enumerate(zip(text, rendering, strict=False))
            places += [next((place for place, (a, b) in pairs if a != b), len(text))]
    return places


def raw_spans(messages: Messages, contents: Sequence[str], separator: str) -> list[Span]:
    """Return where the assistant's contents are in contents that are joined by `separator`."""
    spans, start = [], 0
    for message, content in zip(messages, contents, strict=True):
        if message["role"] == "assistant" and content:
            spans.append((start, start + len(content)))
        start += len(content) + len(separator)
    return spans


def _with(message: Mapping[str, Any], content: str) -> dict[str, Any]:
    parts = not isinstance(message["content"], str)
    return {**message, "content": [{"type": "text", "text": content}] if parts else content}


def _stop(
    message: Mapping[str, Any], text: str, neutral: str, start: int, end: str, control: re.Pattern[str]
) -> int | None:
    """Return where a turn that begins at `start` ends. What contents spell out is hidden in `text`.

    Args:
        neutral: as `text`, with `ANSWERS[0]` as the content of the turn; not read for a turn of calls.
    """
    if message.get("tool_calls"):
        place = text.find(end, start) if end else -1
        return place + len(end) if place >= 0 else None
    content = message["content"]
    plain = _plain(content)
    span = written.place(text[start:], neutral[start:], ANSWERS[0])
    if neutral[:start] != text[:start] or span is None:
        return None
    stop = start + span[1]
    if text[start + span[0] : stop].strip() != plain.strip():
        return None
    token = control.search(text, stop)
    if not end or token is None or text[stop : token.start()].strip():
        return stop
    return token.start() + len(end) if text.startswith(end, token.start()) else token.end()


def _plain(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def _without_tail(text: str, control: re.Pattern[str]) -> str:
    """Cut the white space that a template writes after the token that ends a turn."""
    last = max((token.end() for token in control.finditer(text)), default=0)
    return text if text[last:].strip() else text[:last]
