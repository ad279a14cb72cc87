"""The marks that models write around thoughts and tool calls, and where a thought ends in a completion."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

Own = re.Pattern[str]  # what a model writes itself: the tokens within it are tokens in a completion


class Thought(NamedTuple):
    """How a family of models writes a thought.

    Attributes:
        sign: a template that contains it, or a tokenizer with such a token, belongs to the family.
        open: what begins a thought.
        close: a regular expression of what ends one.
        own: a regular expression of all that the model writes around thoughts and answers.
    """

    sign: str
    open: str
    close: str
    own: str


THINK = Thought("<think>", "<think>", "</think>", "</?think>")
THOUGHTS = (
    THINK,  # DeepSeek, Qwen, GLM, Nemotron, LFM and most others
    Thought("<|channel>", "<|channel>thought", r"<channel\|>", r"<\|channel>|<channel\|>"),  # Gemma 4
    Thought(  # gpt-oss
        "<|channel|>analysis",
        "<|channel|>analysis<|message|>",
        r"<\|end\|>(?:<\|start\|>assistant)?",
        r"<\|end\|><\|start\|>assistant|"
        r"<\|channel\|>(?:analysis|commentary|final)[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>",
    ),
    Thought(  # Muse Glimmer
        "to=self<|message|>",
        " to=self<|message|>",
        r"<\|eom\|>(?:<\|start\|>assistant)?",
        r"<\|eom\|><\|start\|>assistant| to=[^<\s]+<\|message\|>",
    ),
    Thought(  # Cohere's Command
        "<|START_THINKING|>",
        "<|START_THINKING|>",
        r"<\|END_THINKING\|>",
        r"<\|(?:START|END)_(?:THINKING|ACTION|RESPONSE)\|>",
    ),
    Thought("[THINK]", "[THINK]", r"\[/THINK\]", r"\[/?THINK\]"),  # Magistral
    Thought("<seed:think>", "<seed:think>", "</seed:think>", r"</?seed:[a-z_]+>"),  # Seed-OSS
)
# Tokens of thoughts, which are control tokens also where a template does not write them.
THOUGHT_MARKS = (
    *("<think>", "</think>", "<|channel>", "<channel|>", "<|START_THINKING|>", "<|END_THINKING|>"),
    *("[THINK]", "[/THINK]", "<seed:think>", "</seed:think>"),
)
# What models write around tool calls, where it is a token of its own.
TOOL_MARKS = (
    *("<tool_call>", "</tool_call>"),  # Qwen, Nemotron, Hermes
    *("<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),  # GLM
    *("<|tool_call_start|>", "<|tool_call_end|>"),  # LFM
    *("<|tool_call>", "<tool_call|>", '<|"|>'),  # Gemma 4
    *("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"),  # Mistral
    *("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"),  # DeepSeek
    *("<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>"),
    *("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"),  # Kimi
    *("<|tool_call_begin|>", "<|tool_call_argument_begin|>"),
    "<|python_tag|>",  # Llama 3.1
)


class Marks:
    """The marks of one model's thoughts and tool calls.

    Args:
        template: the text of its template.
        tokens: its control tokens.
    """

    def __init__(self, template: str, tokens: Collection[str]) -> None:
        thoughts = [each for each in THOUGHTS if each.sign in template or each.sign in tokens]
        # A model without any may still be trained on texts with the usual marks, which then are only text.
        self._thoughts = thoughts or [THINK]
        own = [each.own for each in self._thoughts]
        self.own: Own = re.compile("|".join([*own, *map(re.escape, TOOL_MARKS)]))

    @property
    def openings(self) -> list[str]:
        """What begins a thought."""
        return [thought.open for thought in self._thoughts]

    def opened(self, prompt: str, prefill: str = "") -> str:
        """Return the end of `prompt`, which ends in `prefill`, that opens a thought; "" if none does."""
        for thought in self._thoughts:
            place = prompt.rfind(thought.open)
            if place < 0:
                continue
            after = prompt[place + len(thought.open) :]
            # Beyond its last white space only what a recipe wrote itself counts, because a message may end
            # in such a text.
            within = len(prompt) - place <= len(prefill) and not re.search(thought.close, after)
            if within or not after.strip():
                return prompt[place:]
        return ""

    def begin(self, text: str) -> bool:
        """Tell whether a text begins with what begins a thought, white space aside."""
        return text.lstrip().startswith(tuple(mark.lstrip() for mark in self.openings))

    def without_opening(self, text: str, opening: str) -> str:
        """Remove the mark at the beginning of a completion where the prompt has it already (`opening`)."""
        if not opening:
            return text
        if text.startswith(opening):
            return text[len(opening) :]
        mark = next(each for each in self.openings if opening.startswith(each))
        core = text.lstrip()
        return core[len(mark) :] if core.startswith(mark) else text

    def closing(self, text: str, opening: str, after: int = 0) -> tuple[int, str] | None:
        """Find the end of the thought that a completion begins with.

        Args:
            opening: what `opened` returned for its prompt.
            after: where the thought ends, if that is known; it may contain the mark as text.

        Returns:
            Where the thought ends, its closing mark included, and that mark ("" if it is missing, because the
            completion was cut in the thought); None for a completion without a thought.
        """
        for thought in self._thoughts:
            mark = thought.open.lstrip()
            start = len(text) - len(text.lstrip())
            begins = text.startswith(mark, start)
            if begins or opening.startswith(thought.open):
                first = max(start + len(mark) if begins else 0, after)
                close = re.compile(thought.close).search(text, first)
                # Templates write an empty thought in front of a text that has its own.
                while close and text[close.end() :].lstrip().startswith(mark):
                    close = re.compile(thought.close).search(text, close.end())
                return (close.end(), close.group()) if close else (len(text), "")
        return None

    def answer(self, text: str, opening: str) -> str:
        """Return a completion without its thought and the white space after it."""
        end = self.closing(text, opening)
        return text[end[0] :].lstrip() if end else text
