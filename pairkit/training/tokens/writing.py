"""A completion as it is encoded after its prompt: its text, what of it is scored, what ends it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from pairkit.models.chat.format import Answer, ChatFormat
from pairkit.models.chat.hidden import Rendered
from pairkit.models.chat.render import Messages
from pairkit.training.tokens.choose import Completion, Unusable

Thoughts = Literal["train", "mask", "strip"]
# What is counted of the completions of a set.
RECORDED, RETOKENIZED, REPEATED = "recorded_ids", "ids_of_another_tokenizer", "repeated_marks"
SAME = "identical_completions"  # negatives with the ids of the chosen completion


class Part(NamedTuple):
    """A text of a column.

    Attributes:
        ids: its ids where they are known, instead of those of the text.
        scored: whether its ids count.
        end: ids after it, which end a turn and count if it does.
        thought: what closes the thought that it begins with and whose ids do not count ("" where nothing
            does, because the thought was cut), and how often the text has it up to there; None where all ids
            count.
    """

    text: Rendered
    scored: bool = True
    end: tuple[int, ...] = ()
    ids: tuple[int, ...] | None = None
    thought: tuple[str, int] | None = None


class Prompt(NamedTuple):
    """A prompt with what its rendering depends on.

    Attributes:
        opened: how its end opens a thought; "" if it does not.
    """

    messages: Messages
    text: Rendered
    tools: str | None
    kwargs: Mapping[str, Any] | None
    opened: str


def part(
    format: ChatFormat, prompt: Prompt, completion: Completion, thoughts: Thoughts, counts: Counter[str]
) -> Part:
    """Return a completion as it is encoded after its prompt.

    Args:
        counts: `RECORDED`, `RETOKENIZED` and `REPEATED` are counted here.

    Raises:
        PromptRefused: a message of tool calls or with a thought of its own that the template does not write.
        Unusable: thoughts are to be removed, and the prompt opens one or nothing else is there; or masked,
            and a completion that ended by itself does not close its thought.
    """
    if thoughts == "strip" and prompt.opened:
        raise Unusable(
            "thought_opened",
            f"the generation prompt ends in {prompt.opened!r}, after which thoughts=strip leaves nothing to "
            f"think; {format.opening_advice(tools=prompt.tools, kwargs=prompt.kwargs)}, or set thoughts=mask",
        )
    if any(completion.get(name) is not None for name in ("reasoning_content", "tool_calls")):
        text, end, thought_end = _structured(format, prompt, completion, thoughts)
    else:
        own = format.marks.without_opening(completion["text"], prompt.opened)
        counts.update({REPEATED: 1} if own != completion["text"] else {})
        thought_end = 0
        text, end = format.completion(own), format.end_ids(tools=prompt.tools, kwargs=prompt.kwargs)
    original = text
    if thoughts == "strip":
        text = text._replace(text=format.marks.answer(text.text, prompt.opened))
        if _only_thought(format, completion, text):
            raise Unusable("empty_completion", "a completion has nothing but the thought that is removed")
    thought = masked(format, text, prompt.opened, after=thought_end) if thoughts == "mask" else None
    if thought and not thought[0] and completion["finish_reason"] != "length":
        remedy = "set thoughts=train"
        if prompt.opened:  # by the prompt and not by the completion, which may have no thought at all
            advice = format.opening_advice(tools=prompt.tools, kwargs=prompt.kwargs)
            remedy = f"{advice} if it has none, or set thoughts=train"
        raise Unusable(
            "thought_not_closed",
            "a completion that ended by itself never closes its thought, so that thoughts=mask would leave "
            f"its answer out; {remedy}",
        )
    ids = None
    if completion.get("token_ids") is not None and text == original:
        same_tokenizer = completion["tokenizer"] == format.fingerprint
        counts[RECORDED if same_tokenizer else RETOKENIZED] += 1
        ids = tuple(completion["token_ids"]) if same_tokenizer else None
    # Recorded ids have their own end, and one that the model never wrote would teach it to stop there.
    tail = tuple(end) if completion["finish_reason"] != "length" and ids is None else ()
    return Part(text, end=tail, ids=ids, thought=thought)


def masked(
    format: ChatFormat, text: Rendered, opening: str, header: int = 0, after: int = 0
) -> tuple[str, int] | None:
    """Return `Part.thought` of a text whose first `header` characters come before what the model writes.

    Args:
        opening, after: as `Marks.closing` takes them.
    """
    closing = format.marks.closing(text.text[header:], opening, after)
    if not closing:
        return None
    stop, mark = closing
    return mark, text._replace(text=text.text[: header + stop]).plain.count(mark) if mark else 0


def _only_thought(format: ChatFormat, completion: Completion, remaining: Rendered) -> bool:
    """Whether a completion has nothing `remaining` without its thought."""
    if completion.get("tool_calls") is not None or not (
        completion["text"].strip() or completion.get("reasoning_content")
    ):
        return False
    # A template may write marks for an answer that is empty.
    return not completion["text"].strip() or not format.marks.own.sub("", remaining.text).strip()


def _structured(format: ChatFormat, prompt: Prompt, completion: Completion, thoughts: Thoughts) -> Answer:
    message = {
        "role": "assistant",
        "content": completion["text"],
        "reasoning_content": None if thoughts == "strip" else completion.get("reasoning_content"),
        "tool_calls": completion.get("tool_calls"),
    }
    answer = format.answer(prompt.messages, message, tools=prompt.tools, kwargs=prompt.kwargs)
    has_calls = completion.get("tool_calls") is not None
    if completion["finish_reason"] != "length" or completion["text"].strip() or has_calls:
        return answer
    # Cut in its thought: what the template writes after it the model has not written.
    return answer._replace(text=answer.text._replace(text=answer.text.text[: answer.thought_end]))
