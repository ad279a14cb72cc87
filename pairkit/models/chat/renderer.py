"""What a template writes for messages and what it leaves out, found by rendering."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from pairkit.errors import ModelError
from pairkit.models.chat import written
from pairkit.models.chat.advice import advice, opening_advice
from pairkit.models.chat.forged import forged
from pairkit.models.chat.hidden import Hiding, unescaped
from pairkit.models.chat.marks import Marks
from pairkit.models.chat.messages import Message, PromptRefused, for_template, from_json
from pairkit.models.chat.neutral import Neutral
from pairkit.models.chat.render import Messages, render
from pairkit.models.chat.settings import TemplateSettings, reserved
from pairkit.models.chat.shape import THOUGHT, Shape, generation_prompt, shape
from pairkit.schema import canonical_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Arguments = Mapping[str, Any]


class Given(NamedTuple):
    """What a template is given."""

    messages: list[dict[str, Any]]
    tools: list[Any] | None
    arguments: dict[str, Any]


@dataclass
class Renderer:
    """A template, and how it is given messages, tools and arguments.

    Attributes:
        template: its text, or those of several by name; None without any.
        marks: what the model writes itself, and which is therefore not hidden in its answers.
        control: what matches any control token.
    """

    tokenizer: PreTrainedTokenizerBase
    template: str | dict[str, str] | None
    settings: TemplateSettings
    marks: Marks
    control: re.Pattern[str]
    _prefills: dict[str, str] = field(default_factory=dict, init=False)
    _openings: dict[str, str] = field(default_factory=dict, init=False)

    @cached_property
    def shape(self) -> Shape:
        """How the template reads messages."""
        return shape(self.apply, self.settings.kwargs)

    def apply(
        self,
        messages: Messages,
        tools: Sequence[Any] | None,
        arguments: Arguments,
        generation: bool,
    ) -> str:
        """Render what `given` returns, with the generation prompt or without. Raises `ModelError`."""
        text = render(
            self.tokenizer,
            messages,
            add_generation_prompt=generation,
            template=self.chosen(tools),
            tools=tools,
            arguments=arguments,
        )
        return unescaped(text)

    def written(
        self, messages: Sequence[Any], tools: Sequence[Any] | None, arguments: Arguments, generation: bool
    ) -> str:
        """Render as `apply` does. Raises `PromptRefused` where a token comes of a message's own words."""
        text = self.apply(messages, tools, arguments, generation)
        values = [*messages, *(tools or ())]

        def render(others: Sequence[Any]) -> str:
            other_tools = list(others[len(messages) :])
            try:
                return self.apply(others[: len(messages)], other_tools or None, arguments, generation)
            except ModelError:  # it looks for what the others do not say, and shows nothing
                return ""

        token = forged(values, text, self.chosen(tools) or "", self.control, self.marks.own, render)
        if token is not None:
            raise PromptRefused(
                "control_token_made",
                f"the template makes the control token {token!r} of the words of a message or a tool; rename "
                "them, or set template.file to a template that does not",
            )
        return text

    def chosen(self, tools: Sequence[Any] | None) -> str | None:
        """Return the text of the template that is used with these tools."""
        own = self.template
        if not isinstance(own, dict):
            return own
        # As transformers chooses among several.
        return own["tool_use"] if tools and "tool_use" in own else own.get("default")

    def given(
        self, messages: Sequence[Message], tools: str | None, kwargs: Arguments | None, hiding: Hiding
    ) -> Given:
        """Return messages, tools and arguments as the template takes them, control tokens hidden.

        Args:
            tools: a JSON list.
            kwargs: arguments of a set, which override those of the settings.

        Raises:
            PromptRefused: tools that are no JSON list, or an argument that is not for a set to give.
        """
        form = self.shape
        fields: dict[str, Any] = {"thought": form.thought, "parts": form.parts, "arguments": form.arguments}
        return Given(
            [for_template(message, hiding, self.marks.own, **fields) for message in messages],
            hiding.value(from_json(tools, list, "tools")) if tools else None,
            self._arguments(kwargs, hiding),
        )

    def _arguments(self, kwargs: Arguments | None, hiding: Hiding) -> dict[str, Any]:
        if problem := reserved(kwargs or {}):
            raise PromptRefused("template_refused", f"the column chat_template_kwargs: {problem}")
        # Only those of the set, because a recipe writes tokens on purpose.
        return {**self.settings.kwargs, **hiding.value(dict(kwargs or {}))}

    def prefill(self, tools: bool, arguments: Arguments) -> str:
        """Return what is added to the generation prompt: the settings' prefill, or "" where it is there."""
        prefill = self.settings.prefill
        # White space may be one more line that a recipe asks for.
        if not prefill.strip():
            return prefill
        key = canonical_json([tools, dict(arguments)])
        if key not in self._prefills:
            ending = generation_prompt(self.apply, self.shape, tools, arguments)
            self._prefills[key] = "" if ending.endswith(prefill) else prefill
        return self._prefills[key]

    def opening_advice(self, tools: bool, arguments: Arguments) -> str:
        """Return what to set so that prompts open no thought: tried once per set of arguments."""

        def opens(variant: Arguments) -> bool | None:
            ending = generation_prompt(self.apply, self.shape, tools, variant)
            return bool(self.marks.opened(ending)) if ending else None

        key = canonical_json([tools, dict(arguments)])
        if key not in self._openings:
            self._openings[key] = opening_advice(opens, arguments)
        return self._openings[key]

    def answer(self, messages: list[dict[str, Any]], tools: list[Any] | None, arguments: Arguments) -> str:
        """Return what the template writes for the last message after the generation prompt of the others.

        Raises:
            PromptRefused: it does not write the others as before, or leaves out a part of the last one.
        """
        before = self.apply(messages[:-1], tools, arguments, True) + self.prefill(bool(tools), arguments)
        whole = self.written(messages, tools, arguments, False)
        text = written.after(whole, before)
        written.check_message(messages[-1], self.shape.thought, text)
        if omission := self.lost(messages, len(messages) - 1, tools, arguments, False):
            raise written.changed(omission)
        return text

    def thought_end(
        self, messages: list[dict[str, Any]], tools: list[Any] | None, arguments: Arguments, text: str
    ) -> int:
        """Return where the thought of the last message ends in `text`, which `answer` returned for it."""
        name = self.shape.thought
        if not (messages[-1].get(name) or "").strip():
            return 0
        neutral = self.answer([*messages[:-1], {**messages[-1], name: THOUGHT}], tools, arguments)
        place = written.place(text, neutral, THOUGHT)
        if place is None:
            raise PromptRefused(
                "template_changes_text",
                "what the template writes around a thought depends on the thought; set template.file to a "
                "template that writes it as it is, or give the completion as text",
            )
        return place[1]

    def lost(
        self,
        messages: list[dict[str, Any]],
        first: int,
        tools: list[Any] | None,
        arguments: Arguments,
        generation: bool,
    ) -> str | None:
        """Return what a template leaves out of tools, and of calls and results from message `first` on."""
        if not tools and not any("tool_calls" in each or each["role"] == "tool" for each in messages[first:]):
            return None
        neutral = Neutral()
        neutral_messages = [*messages[:first], *neutral.messages(messages[first:])]
        try:
            text = self.apply(neutral_messages, neutral.tools(tools), arguments, generation)
        except ModelError:  # a template for certain tools only: what it wrote for these has been looked at
            return None
        return neutral.lost(text)

    @contextmanager
    def advising(
        self, messages: list[dict[str, Any]], tools: list[Any] | None, arguments: Arguments
    ) -> Iterator[None]:
        """Turn a template's error into a refusal that tells what to set."""
        try:
            yield
        except PromptRefused:
            raise
        except ModelError as error:
            if not self.template:
                raise
            raise PromptRefused(
                "template_refused", f"{error}; {advice(self.apply, messages, tools, arguments)}"
            ) from error
