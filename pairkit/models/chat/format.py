"""Conversations as token ids: what a model reads before a completion, the completion, and what ends it.

A completion is what follows the generation prompt: the prompt is rendered by the template, with its
arguments and its generation prompt, and the completion is the text as written. An answer is rendered by the
template only to learn what ends a turn, and where it has no text form (tool calls, a thought kept apart).

What messages spell out is text: no user, source or tool can write a token that ends a turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NamedTuple

from pairkit.errors import ModelError
from pairkit.models.chat import turns, written
from pairkit.models.chat.advice import thinking_advice
from pairkit.models.chat.control import ControlTokens, encode
from pairkit.models.chat.hidden import Hiding, Rendered
from pairkit.models.chat.identity import tokenizer_content
from pairkit.models.chat.limits import check_length
from pairkit.models.chat.marks import Marks
from pairkit.models.chat.messages import Message, PromptRefused, with_system
from pairkit.models.chat.render import Messages, begins_with_bos, one_bos
from pairkit.models.chat.renderer import Renderer
from pairkit.models.chat.settings import Template, TemplateSettings
from pairkit.models.chat.shape import PROMPT, Turn, turn
from pairkit.models.chat.template_file import read_template
from pairkit.schema import canonical_json, short_hash

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Arguments = Mapping[str, Any]
SEPARATOR = "\n\n"  # between the contents of messages without a template


class Answer(NamedTuple):
    """An assistant's message as the template writes it after a prompt."""

    text: Rendered
    end: list[int]  # the ids that end the turn, where the text does not contain them
    thought_end: int  # where a thought of its own ends in the text, before what closes it; 0 without one


class ChatFormat:
    """How one tokenizer and one template setting turn conversations into ids.

    >>> from pairkit.quickstart.model import tiny_tokenizer
    >>> format = ChatFormat(tiny_tokenizer())
    >>> prompt = format.prompt_ids([{"role": "user", "content": "1 + 1"}])

    Raises `RecipeError` for a template file that cannot be read or is not a template, and for a template that
    is too long.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, template: Template | None = None) -> None:
        self.tokenizer = tokenizer
        self.raw = template == "none"
        self.settings = template if isinstance(template, TemplateSettings) else TemplateSettings()
        # Taken now, because a run gives the tokenizer that it saves another template.
        own = tokenizer.chat_template
        self.own_template = (
            None if self.raw else read_template(self.settings.file) if self.settings.file else own
        )
        check_length(self.template)
        self.control = ControlTokens(tokenizer, self.template)
        self.marks = Marks(self.template, self.control.ids)
        self._renderer = Renderer(
            tokenizer, self.own_template, self.settings, self.marks, self.control.pattern
        )
        self._turns: dict[tuple[bool, str], Turn] = {}
        self._ends: dict[str, list[int]] = {}  # the ids of what ends a turn, by its text

    @property
    def template(self) -> str:
        """The text of the template; of all of them where the tokenizer has several; "" without any."""
        own = self.own_template or ""
        return "\n".join(own.values()) if isinstance(own, dict) else own

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all that ids depend on: the tokenizer's content, the template, the settings."""
        return short_hash([tokenizer_content(self.tokenizer), *self.identity])

    @property
    def identity(self) -> list[Any]:
        """The settings and the template as JSON values; the content of a file instead of its path."""
        settings = self.settings.model_dump(mode="json", exclude={"file"})
        return ["none"] if self.raw else [settings, self.own_template]

    # Prompts

    def prompt_ids(
        self, messages: Messages, *, tools: str | None = None, kwargs: Arguments | None = None
    ) -> list[int]:
        """Return the ids of a prompt: `prompt`, then `encode_prompts`."""
        return self.encode_prompts([self.prompt(messages, tools=tools, kwargs=kwargs)])[0]

    def prompt(
        self, messages: Messages, *, tools: str | None = None, kwargs: Arguments | None = None
    ) -> Rendered:
        """Render messages with the generation prompt and the prefill.

        Args:
            tools: the JSON list of a set's tools.
            kwargs: arguments of the template for this set, which override those of the settings.

        Raises:
            PromptRefused: the template refuses the messages, leaves out a system turn or tools, or makes a
                control token of what they say.
            ModelError: the tokenizer has no template.
        """
        hiding = self.control.hiding()
        if self.raw:
            return Rendered(self._joined(messages, tools, hiding), hiding.hidden)
        inputs = self._renderer.given(with_system(messages, self.settings.system), tools, kwargs, hiding)
        with self._renderer.advising(*inputs):
            text = self._renderer.written(*inputs, True)
        written.check_prompt(inputs.messages, inputs.tools, text)
        if omission := self._renderer.lost(inputs.messages, 0, inputs.tools, inputs.arguments, True):
            raise PromptRefused("tools_dropped", f"the template leaves {omission} out; {written.TOOLS}")
        return Rendered(text + self.prefill(tools=tools, kwargs=kwargs), hiding.hidden)

    def conversation(
        self, messages: Messages, *, tools: str | None = None, kwargs: Arguments | None = None
    ) -> Rendered:
        """Render messages as a whole that ends in an answer, as reward models read it.

        Raises `PromptRefused` and `ModelError` as `prompt` does, but not for what the template leaves out.
        """
        hiding = self.control.hiding()
        inputs = self._renderer.given(with_system(messages, self.settings.system), tools, kwargs, hiding)
        with self._renderer.advising(*inputs):
            text = self._renderer.written(*inputs, False)
        return Rendered(text, hiding.hidden)

    def encode_prompts(self, prompts: Sequence[Rendered]) -> list[list[int]]:
        """Return the ids of prompts, each with exactly one BOS where the tokenizer has one; see `one_bos`."""
        return [one_bos(self.tokenizer, ids, begins=self._begins) for ids in self.control.encode(prompts)]

    def opened(self, prompt: Rendered) -> str:
        """Return the end of a prompt that opens a thought, which a completion continues; "" if none does."""
        return self.marks.opened(prompt.text, self.settings.prefill)

    def opening_advice(self, *, tools: str | None = None, kwargs: Arguments | None = None) -> str:
        """Return what to set so that prompts, which open a thought, open none."""
        return self._renderer.opening_advice(bool(tools), {**self.settings.kwargs, **(kwargs or {})})

    def generation_prompt(self, *, kwargs: Arguments | None = None) -> str:
        """Return what the template adds to a user's turn for an answer to follow; "" if that is not all."""
        if self.raw:
            return ""
        user = [{"role": "user", "content": self._renderer.shape.content(PROMPT)}]
        arguments = {**self.settings.kwargs, **(kwargs or {})}
        apply = self._renderer.apply
        alone, whole = (apply(user, None, arguments, generation) for generation in (False, True))
        return whole[len(alone) :] if whole.startswith(alone) else ""

    def assistant_spans(
        self, messages: Messages, *, tools: str | None = None, kwargs: Arguments | None = None
    ) -> list[tuple[int, int]] | None:
        """Return where the assistant's turns are in `prompt(...).text`, with what ends them.

        By the template's generation marks, else by rendering what comes before each turn; None where that is
        not how the dialogue begins, or where a turn holds a tool's result.
        """
        hiding, dialogue = self.control.hiding(), with_system(messages, self.settings.system)
        if self.raw:
            contents = [hiding.text(str(message["content"])) for message in dialogue]
            return turns.raw_spans(dialogue, contents, SEPARATOR)
        inputs = self._renderer.given(dialogue, tools, kwargs, hiding)
        template = self._renderer.chosen(inputs.tools) or ""
        if spans := turns.marked_spans(self.tokenizer, template, *inputs):
            return spans
        with self._renderer.advising(*inputs):
            text = self._renderer.apply(*inputs, True)
            end = self.turn(tools=tools, kwargs=kwargs).end
            return turns.prefix_spans(self._renderer.apply, *inputs, text, end, self.control.pattern)

    def prefill(self, *, tools: str | None = None, kwargs: Arguments | None = None) -> str:
        """Return what is added to the generation prompt: the settings' prefill.

        It is "" where the generation prompt ends in it by itself, as that of a model does that an earlier run
        has saved with the same prefill.
        """
        return self._renderer.prefill(bool(tools), {**self.settings.kwargs, **(kwargs or {})})

    # Completions

    def completion_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of completions, without the end of the turn: `completion`, `encode_following`."""
        return self.encode_following([self.completion(text) for text in texts])

    def completion(self, text: str) -> Rendered:
        """Hide the control tokens in a completion, except the model's own marks of thoughts and calls."""
        hiding = self.control.hiding()
        return Rendered(hiding.text(text, self.marks.own), hiding.hidden)

    def encode_following(self, texts: Sequence[Rendered]) -> list[list[int]]:
        """Return the ids of texts that follow other text.

        SentencePiece tokenizers put a space in front of every text, also of one that continues a prompt. For
        those, a newline, which no other token swallows, is encoded in front of the text and cut off.
        """
        anchor = self._anchor
        if not anchor:
            return self.control.encode(texts)
        sequences = self.control.encode([Rendered("\n" + text, hidden) for text, hidden in texts])
        return [ids[len(anchor) :] for ids in sequences]

    def end_ids(self, *, tools: str | None = None, kwargs: Arguments | None = None) -> list[int]:
        """Return the ids that end a plain answer: the template's, else EOS. Raises `ModelError` without."""
        end = self.turn(tools=tools, kwargs=kwargs).end
        if end and end not in self._ends:
            self._ends[end] = self.control.encode([Rendered(end)])[0]
        if end:
            return list(self._ends[end])
        if self.tokenizer.eos_token_id is not None:
            return [int(self.tokenizer.eos_token_id)]
        raise ModelError(
            f"the tokenizer {self.tokenizer.name_or_path!r} has no end-of-turn token: its chat template "
            "writes no special token and it has no EOS token; choose another with --tokenizer"
        )

    def turn(self, *, tools: str | None = None, kwargs: Arguments | None = None) -> Turn:
        """Return what the template writes around a plain answer, found once per set of arguments."""
        # Asked for every completion, and nearly always without arguments.
        key = bool(tools), canonical_json(dict(kwargs)) if kwargs else ""
        if key not in self._turns:
            arguments = {**self.settings.kwargs, **(kwargs or {})}
            form = self._renderer
            self._turns[key] = (
                Turn("", "")
                if self.raw
                else turn(form.apply, form.shape, bool(tools), arguments, self.control.pattern)
            )
        return self._turns[key]

    # Messages that have no text form

    def answer(
        self,
        prompt: Messages,
        message: Message,
        *,
        tools: str | None = None,
        kwargs: Arguments | None = None,
    ) -> Answer:
        """Render an assistant's message with tool calls or a thought of its own, as the template writes it.

        Raises:
            PromptRefused: the template does not write the prompt as before, or leaves out the content, the
                thought, or the name or an argument of a call, or writes other text around this thought than
                around any other.
        """
        if self.raw:
            detail = "template=none has no form for tool calls and separate thoughts; set a template"
            raise PromptRefused("template_refused", detail)
        hiding, before = self.control.hiding(), with_system(prompt, self.settings.system)
        inputs = self._renderer.given([*before, message], tools, kwargs, hiding)
        with self._renderer.advising(*inputs):
            try:
                text = self._renderer.answer(*inputs)
            except PromptRefused as refusal:
                write = partial(self._renderer.answer, inputs.messages, inputs.tools)
                detail = thinking_advice(write, inputs.arguments) or refusal.detail
                raise PromptRefused(refusal.reason, detail) from None
        body, ends_itself = written.body(
            text, self.turn(tools=tools, kwargs=kwargs).end, self.control.pattern, self.marks.own
        )
        end = [] if ends_itself else self.end_ids(tools=tools, kwargs=kwargs)
        thought_end = self._renderer.thought_end(*inputs, text)
        return Answer(Rendered(body, hiding.hidden), end, thought_end)

    # The parts

    @cached_property
    def _begins(self) -> bool:
        return begins_with_bos(self.tokenizer)

    @cached_property
    def _anchor(self) -> list[int]:
        anchor, pair, alone = encode(self.tokenizer, ["\n", "\nx", "x"])
        return anchor if anchor + alone != pair and pair[: len(anchor)] == anchor else []

    def _joined(self, messages: Messages, tools: str | None, hiding: Hiding) -> str:
        dialogue = with_system(messages, self.settings.system)
        if tools or any(message.get("tool_calls") for message in dialogue):
            raise PromptRefused("template_refused", "template=none has no form for tools; set a template")
        return SEPARATOR.join(hiding.text(str(message["content"])) for message in dialogue)
