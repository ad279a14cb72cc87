"""Whole dialogues: the assistant's earlier turns as scored parts of a column, with what is between them."""

from __future__ import annotations

from typing import Literal

from pairkit.models.chat.format import ChatFormat
from pairkit.models.chat.hidden import Rendered
from pairkit.training.tokens.choose import Unusable
from pairkit.training.tokens.writing import Part, Prompt, Thoughts, masked

Turns = Literal["last", "all"]
Span = tuple[int, int]  # characters


def dialogue(format: ChatFormat, prompt: Prompt, thoughts: Thoughts) -> tuple[Rendered, list[Part]]:
    """Divide a prompt into what comes before the assistant's first turn, and parts: its turns are scored.

    A part is encoded by itself, as each turn was when it was written after its own generation prompt.

    Raises:
        Unusable: the template has no generation marks, and does not begin a rendered dialogue as it renders
            the messages before a turn, or writes a tool's result into one (`template_not_a_prefix`).
        PromptRefused: the template refuses a part of the dialogue.
    """
    spans = format.assistant_spans(prompt.messages, tools=prompt.tools, kwargs=prompt.kwargs)
    if spans is None:
        raise Unusable(
            "template_not_a_prefix",
            "the template renders an earlier turn of the assistant otherwise than after its generation "
            "prompt, or puts a tool's result into it; set template.file to a template with generation marks, "
            "or assistant_turns=last",
        )
    text, hidden = prompt.text
    if not spans:
        return prompt.text, []
    parts = []
    generation = "" if thoughts == "train" else format.generation_prompt(kwargs=prompt.kwargs)
    lead = format.turn(tools=prompt.tools, kwargs=prompt.kwargs).lead or ""
    for (start, stop), following in zip(spans, [*(s for s, _ in spans[1:]), len(text)], strict=True):
        turn = Rendered(text[start:stop], hidden)
        parts.append(
            Part(turn) if thoughts == "train" else _masked(format, turn, text[:start], generation, lead)
        )
        if stop < following:
            parts.append(Part(Rendered(text[stop:following], hidden), scored=False))
    return Rendered(text[: spans[0][0]], hidden), parts


def _masked(format: ChatFormat, turn: Rendered, before: str, generation: str, lead: str) -> Part:
    # A turn of the prompt is not changed: its thought is masked, not removed. Generation marks may include
    # the header of a turn, or a part of it, which is then masked with the thought that follows.
    ends = [0, *(token.end() for token in format.control.pattern.finditer(generation)), len(generation)]
    header = max(end for end in ends if turn.text.startswith(generation[:end]))
    # What leads to an answer is in front of a thought too where the content spells the thought.
    if turn.text.startswith(lead, header) and format.marks.begin(turn.text[header + len(lead) :]):
        header += len(lead)
    return Part(turn, thought=masked(format, turn, format.marks.opened(before + turn.text[:header]), header))
