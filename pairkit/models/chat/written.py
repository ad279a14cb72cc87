"""Whether a template has written what it was given, and where what it wrote for an answer ends."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pairkit.models.chat.marks import Own
from pairkit.models.chat.messages import PromptRefused, spoken

TOOLS = "set template.file to a template that renders tools, or leave such sets out"


def check_prompt(messages: Sequence[Mapping[str, Any]], tools: Sequence[Any] | None, text: str) -> None:
    """Refuse a rendering without a system turn, a tool, a call or a tool's result that it was given.

    Some templates drop them without an error, and the model would train on another prompt. Raises
    `PromptRefused` with the reason `system_dropped` or `tools_dropped`.
    """
    for message in messages:
        if message["role"] == "system" and not _within(_content(message), text):
            detail = "the template leaves the system turn out; set template.system=fold or drop"
            raise PromptRefused("system_dropped", detail)
        if message["role"] == "tool" and not _within(_content(message), text):
            raise PromptRefused("tools_dropped", f"the template leaves a tool's result out; {TOOLS}")
        if omission := _lost(message.get("tool_calls", ()), text):
            raise PromptRefused(
                "tools_dropped", f"the template leaves {omission!r} of a tool call out; {TOOLS}"
            )
    for tool in tools or ():
        name = str(tool.get("function", tool).get("name")) if isinstance(tool, dict) else str(tool)
        if name not in text:
            raise PromptRefused("tools_dropped", f"the template leaves the tool {name!r} out; {TOOLS}")


def after(whole: str, before: str) -> str:
    """Return what follows `before` in `whole`. Raises `PromptRefused` (`template_not_a_prefix`)."""
    if whole.startswith(before):
        return whole[len(before) :]
    raise PromptRefused(
        "template_not_a_prefix",
        "the template renders the prompt differently when tool calls or a separate thought follow; set "
        "template.file to one that does not, thoughts=strip for a thought, or give the completion as text",
    )


def check_message(message: Mapping[str, Any], thought: str, text: str) -> None:
    """Refuse a rendering `text` of an answer without its content, its thought, or a name or value of a call.

    Args:
        thought: the field of the thought.

    Raises `PromptRefused` with the reason `template_changes_text`.
    """
    omission, advice = None, ""
    if not _within(_content(message), text):
        omission = "its content"
    elif not _within(message.get(thought) or "", text):
        omission, advice = "its thought", "thoughts=strip to leave it out, "
    elif value := _lost(message.get("tool_calls", ()), text):
        omission = f"{value!r} of a tool call"
    if omission:
        raise changed(omission, advice)


def changed(omission: str, advice: str = "") -> PromptRefused:
    """Return the refusal of an answer that a template writes without `omission`."""
    return PromptRefused(
        "template_changes_text",
        f"the template does not write {omission} into an assistant's message; set {advice}template.file to a "
        "template that does, or give the completion as text",
    )


def place(text: str, neutral: str, mark: str) -> tuple[int, int] | None:
    """Return where the text is in a rendering that `mark` stands for in a `neutral` one of the same messages.

    By what is around it, because a short text is also found within what a template itself writes. None where
    the two differ in more than that text.
    """
    before, separator, after = neutral.partition(mark)
    stop = len(text) - len(after)
    alike = separator and text.startswith(before) and text.endswith(after) and len(before) <= stop
    return (len(before), stop) if alike else None


def body(text: str, end: str, control: re.Pattern[str], own: Own) -> tuple[str, bool]:
    """Cut what a template wrote for an answer where its turn ends.

    Args:
        text: everything after the generation prompt.
        end: what ends a plain answer, not to be part of what is returned.
        control: control tokens.
        own: what the model writes itself, and which therefore ends no turn.

    Returns:
        The text, and whether it contains the end of its turn, as that of a call often does.
    """
    tokens = list(control.finditer(text))
    if not tokens or text[tokens[-1].end() :].strip():
        return text, False
    text = text[: tokens[-1].end()]
    if end and text.endswith(end):
        return text[: -len(end)], False
    return text, not own.fullmatch(tokens[-1].group())


def _content(message: Mapping[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def _within(content: str, text: str) -> bool:
    return content.strip() in text or json.dumps(content, ensure_ascii=False)[1:-1] in text


def _lost(calls: Sequence[Mapping[str, Any]], text: str) -> str | None:
    """Return the first name or value of calls that a text does not contain."""
    return next(_missing(calls, text), None)


def _missing(calls: Sequence[Mapping[str, Any]], text: str) -> Iterator[str]:
    for forms in spoken(calls):
        if not any(form in text for form in forms):
            yield forms[0]
