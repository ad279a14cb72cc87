"""What a template does, found by trying it on neutral texts: how it reads messages, what ends a turn."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pairkit.errors import ModelError
from pairkit.models.chat.messages import Arguments

# (messages, tools, arguments of the template, generation prompt) -> rendered text; raises `ModelError`.
Apply = Callable[[Sequence[Mapping[str, Any]], Sequence[Any] | None, Mapping[str, Any], bool], str]
Messages = list[dict[str, Any]]

# Texts that no template writes by itself. The two answers end in different characters in every case.
PROMPT, THOUGHT, ANSWERS = "pairkit:prompt", "pairkit:thought", ("pairkit:answer a", "pairkit:answer 0")
TOOL = {
    "type": "function",
    "function": {
        "name": "pairkit_tool",
        "description": "A tool.",
        "parameters": {
            "type": "object",
            "properties": {"pairkit_key": {"type": "string", "description": "A key."}},
            "required": ["pairkit_key"],
        },
    },
}


@dataclass(frozen=True)
class Shape:
    """How a template reads messages.

    Attributes:
        parts: contents are lists of parts, as multimodal models have them, and a plain text is lost.
        thought: the field of a thought that is kept apart.
        arguments: whether the arguments of a call are an object or JSON.
    """

    parts: bool = False
    thought: str = "reasoning_content"
    arguments: Arguments = "object"

    def content(self, text: str) -> Any:
        return [{"type": "text", "text": text}] if self.parts else text


class Turn(NamedTuple):
    """What a template writes around a plain answer.

    Attributes:
        lead: between the generation prompt and the answer; None where the generation prompt does not
            come before an answer.
        end: after it, up to its first control tokens; "" where it writes none.
    """

    lead: str | None
    end: str


def shape(apply: Apply, arguments: Mapping[str, Any]) -> Shape:
    """Find how a template reads messages; what cannot be found is as in most templates."""

    def writes(messages: Messages, texts: Sequence[str], tools: list[Any] | None = None) -> bool:
        try:
            rendering = apply(messages, tools, arguments, False)
        except ModelError:
            return False
        return all(text in rendering for text in texts)

    form = Shape()
    parts = Shape(parts=True)
    if not writes([_user(form)], [PROMPT]) and writes([_user(parts)], [PROMPT]):
        form = parts
    answer = {"role": "assistant", "content": form.content(ANSWERS[0])}
    fields = ("reasoning_content", "thinking", "reasoning")
    thought = next(
        (name for name in fields if writes([_user(form), answer | {name: THOUGHT}], [THOUGHT])), fields[0]
    )
    as_text: Arguments = "object"
    if not writes([_user(form), _calling(form, {"pairkit_key": THOUGHT})], [THOUGHT], [TOOL]):
        call = _calling(form, f'{{"pairkit_key": "{THOUGHT}"}}')
        as_text = "text" if writes([_user(form), call], [THOUGHT], [TOOL]) else "object"
    return Shape(form.parts, thought, as_text)


def turn(
    apply: Apply,
    form: Shape,
    tools: bool,
    arguments: Mapping[str, Any],
    control: re.Pattern[str],
) -> Turn:
    """Find what a template writes around a plain answer, whatever the answer is."""
    tool_definitions = [TOOL] if tools else None

    def render(answer: str) -> str:
        message = {"role": "assistant", "content": form.content(answer)}
        return apply([_user(form), message], tool_definitions, arguments, False)

    try:
        before = apply([_user(form)], tool_definitions, arguments, True)
        first, second = map(render, ANSWERS)
    except ModelError:  # a template without answers: nothing ends one but EOS
        return Turn(None, "")
    place = first.find(ANSWERS[0], len(before))
    lead = first[len(before) : place] if first.startswith(before) and place >= 0 else None
    # The common end, because some templates change the answer itself.
    pairs = enumerate(zip(reversed(first), reversed(second), strict=False))
    length = next((i for i, (a, b) in pairs if a != b), 0)
    tail = first[len(first) - length :]
    return Turn(lead, tail[: _end(tail, control)])


def generation_prompt(apply: Apply, form: Shape, tools: bool, arguments: Mapping[str, Any]) -> str:
    """Return a neutral prompt, which ends in the generation prompt; "" where the template refuses it."""
    try:
        return apply([_user(form)], [TOOL] if tools else None, arguments, True)
    except ModelError:
        return ""


def _end(tail: str, control: re.Pattern[str]) -> int:
    """Return where the first control tokens end that follow each other without text between them."""
    end = 0
    for token in control.finditer(tail):
        if end and token.start() != end:
            break
        end = token.end()
    return end


def _user(form: Shape) -> dict[str, Any]:
    return {"role": "user", "content": form.content(PROMPT)}


def _calling(form: Shape, arguments: Any) -> dict[str, Any]:
    function = {"name": "pairkit_tool", "arguments": arguments}
    call = {"id": "call00001", "type": "function", "function": function}
    return {"role": "assistant", "content": form.content(""), "tool_calls": [call]}
