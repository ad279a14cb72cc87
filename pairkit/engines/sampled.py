"""Completions of local engines, from the ids that were sampled.

A completion is recorded as text, and training tokenizes the text again. Where that gives other ids than were
sampled (a word in other pieces, a control token that the text does not show), the sampled ones are recorded
too, and training takes those.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pairkit.engines.base import Completion, FinishReason, Request, TopLogprobs
from pairkit.engines.local import ids_of
from pairkit.errors import ModelError
from pairkit.models.chat.format import ChatFormat

# The ids of a completion, its stop token included, and why it ended.
Sampled = tuple[list[int], FinishReason]


class SampledReader:
    """Reads what a model sampled in the format of its prompts."""

    def __init__(self, chat: ChatFormat) -> None:
        self._chat, self._tokenizer = chat, chat.tokenizer
        tokens = self._tokenizer.added_tokens_decoder.items()
        special = {int(number) for number, token in tokens if token.special}
        self._special = special.union(self._tokenizer.all_special_ids)

    def stops(self) -> set[int]:
        """Return the tokens that end a turn by the template, with and without tools."""
        ends = [self._end(tools, {}) for tools in (None, "[]")]
        # Only control tokens, because a turn that ends in plain text would end at each such text.
        control = {*self._chat.control.ids.values(), *self._special}
        return {end[-1] for end in ends if end and end[-1] in control}

    def completions(self, request: Request, sampled: Sequence[Sampled]) -> tuple[Completion, ...]:
        """Return the completions of a request whose prompt is token ids, in the order of its samplings."""
        end = self._end(request.tools, request.arguments)
        texts = [self._text(_without_end(ids, end) if reason == "stop" else ids) for ids, reason in sampled]
        retokenized = self._tokenized(request, texts)
        completions = []
        for (ids, reason), text, again, sampling in zip(
            sampled, texts, retokenized, request.samplings, strict=True
        ):
            completion = Completion(text, len(ids), reason, sampling)
            if again + (end if reason == "stop" else []) != ids:
                completion = completion._replace(token_ids=tuple(ids), tokenizer=self._chat.fingerprint)
            completions.append(completion)
        return tuple(completions)

    def ids(self, request: Request, completion: Completion) -> list[int]:
        """Return the ids that a completion of such a request was sampled as, its end included."""
        if completion.token_ids is not None:
            return list(completion.token_ids)
        end = self._end(request.tools, request.arguments) if completion.finish_reason == "stop" else []
        return self._tokenized(request, [completion.text])[0] + end

    def top(self, ids: Sequence[int], logprobs: Sequence[float]) -> TopLogprobs:
        """Return tokens as texts, with their log-probs."""
        return tuple((self._decode([number]), value) for number, value in zip(ids, logprobs, strict=True))

    def _end(self, tools: str | None, kwargs: dict[str, Any]) -> list[int]:
        try:
            return self._chat.end_ids(tools=tools, kwargs=kwargs)
        # Of a tokenizer without any end: its completions end by their length alone.
        except ModelError:
            return []

    def _tokenized(self, request: Request, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids that training gives the texts after this prompt, without the end of the turn."""
        marks = self._chat.marks
        opening = ""
        if any(text.lstrip().startswith(tuple(marks.openings)) for text in texts):
            opening = marks.opened(self._decode(ids_of(request)), self._chat.settings.prefill)
        return self._chat.completion_ids([marks.without_opening(text, opening) for text in texts])

    def _text(self, ids: list[int]) -> str:
        """Return ids as text, without special tokens other than marks of thoughts and tool calls."""
        if not self._special.isdisjoint(ids):
            hidden = set(self._hidden(ids))
            ids = [number for place, number in enumerate(ids) if place not in hidden]
        return self._decode(ids)

    def _hidden(self, ids: list[int]) -> Iterator[int]:
        """Yield the places of the special tokens that are no part of a mark."""
        text = self._decode(ids)
        marks = [mark.span() for mark in self._chat.marks.own.finditer(text)]
        start = 0
        for place, number in enumerate(ids):
            if number in self._special:
                token = self._decode([number])
                offset = text.find(token, start)
                if not any(begin <= offset < end for begin, end in marks):
                    yield place
                # A token that reads otherwise within a text is not a mark, and moves nothing.
                start = offset + len(token) if offset >= 0 else start

    def _decode(self, ids: list[int]) -> str:
        # Clean-up would remove spaces before punctuation that the model did sample; slow tokenizers would put
        # spaces around special tokens.
        return str(
            self._tokenizer.decode(
                ids,
                skip_special_tokens=False,
                clean_up_tokenization_spaces=False,
                spaces_between_special_tokens=False,
            )
        )


def _without_end(ids: list[int], end: list[int]) -> list[int]:
    """Cut the end of the turn, or the stop token alone where the model ended otherwise."""
    length = len(end) if end and ids[-len(end) :] == end else 1
    return ids[:-length]
