"""Control tokens, and texts in which what looks like one is only text.

A control token is an added token that structures a conversation: a special one, one that the template writes,
a mark of a thought or a tool call. Whoever can write one into a message could otherwise end a turn and begin
another. Other added tokens (runs of white space, words that were added to a vocabulary) are text like any.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from itertools import chain, pairwise
from typing import TYPE_CHECKING

from pairkit.models.chat.hidden import (
    ESCAPED,
    STAND_INS,
    Fragments,
    Hiding,
    Rendered,
    any_of,
    has_stand_in,
    restore,
)
from pairkit.models.chat.marks import THOUGHT_MARKS, TOOL_MARKS
from pairkit.models.chat.sealed import Sealed
from pairkit.models.panic import panics_as_errors

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PIPED = re.compile(r"<[|｜].*>|<.*[|｜]>", re.DOTALL)


class ControlTokens:
    """The control tokens of a tokenizer and a template, which is given as text."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, template: str) -> None:
        special, marks = set(tokenizer.all_special_tokens), {*THOUGHT_MARKS, *TOOL_MARKS}
        self._tokenizer = tokenizer
        self.ids: dict[str, int] = {}  # of each control token, by its text
        whole_words = set()
        for number, token in tokenizer.added_tokens_decoder.items():
            text = str(token)
            in_template = not text.isalnum() and text in template
            control = (
                token.special or text in special or text in marks or in_template or _PIPED.fullmatch(text)
            )
            if control and text and not text.isspace():
                self.ids[text] = int(number)
                whole_words |= {text} if token.single_word else set()
        self.pattern = any_of(self.ids, whole_words)
        # Stand-ins that a text already has are hidden too, so that every one is known.
        self._anywhere = any_of(self.ids)
        self._hidden = re.compile("|".join([self._anywhere.pattern, STAND_INS.pattern, ESCAPED.pattern]))
        self._fragments = Fragments(self.ids)
        # An unknown character is what it is.
        self._numbers = frozenset(self.ids.values()) - {tokenizer.unk_token_id}

    def hiding(self) -> Hiding:
        """Return what hides control tokens of one conversation."""
        return Hiding(self._hidden, self._fragments, self._occurs)

    def _occurs(self, text: str) -> bool:
        """Tell whether `_hidden` matches in a text: one search after another, because each alone is fast."""
        return has_stand_in(text) or bool(self._anywhere.search(text))

    def encode(self, texts: Sequence[Rendered]) -> list[list[int]]:
        """Return the ids of texts: control tokens that are not hidden are tokens, all else is text.

        No BOS is added. A text without stand-ins has exactly the ids that the tokenizer gives it, if these
        have the control tokens that it spells: a normalizer may make others of it (`＜s＞`, `<S>`).
        """
        plain = [i for i, text in enumerate(texts) if not (text.hidden and STAND_INS.search(text.text))]
        ids: list[list[int] | None] = [None for _ in texts]
        # One call, because fast tokenizers work on many texts in parallel.
        for i, token_ids in zip(plain, encode(self._tokenizer, [texts[i].text for i in plain]), strict=True):
            if self._spelled(texts[i].text) == self._found(token_ids):
                ids[i] = token_ids
        others = [i for i, token_ids in enumerate(ids) if token_ids is None]
        # Made only if needed, because it is a copy of the tokenizer.
        rest = iter(self._encode_sealed([texts[i] for i in others]) if others else ())
        return [next(rest) if token_ids is None else token_ids for token_ids in ids]

    @cached_property
    def _encode_sealed(self) -> Callable[[Sequence[Rendered]], list[list[int]]]:
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        encoder = None if backend is None else Sealed.of(backend, self.ids, self.pattern)
        return encoder.encode if encoder else self._encode_in_pieces

    def _encode_in_pieces(self, texts: Sequence[Rendered]) -> list[list[int]]:
        """Encode without a copy of the tokenizer, token by token and piece by piece of text between them.

        A control token that a text spells out is divided after its first character, so that it is none.
        """
        ids: list[list[int]] = []
        for text in texts:
            row: list[int] = []
            start = 0
            for token in [*self.pattern.finditer(text.text), None]:
                row += self._piece(restore(text.text[start : token.start() if token else None], text.hidden))
                if token:
                    row.append(self.ids[token.group()])
                    start = token.end()
            ids.append(row)
        return ids

    def _piece(self, text: str) -> list[int]:
        cuts = [0, *(match.start() + 1 for match in self.pattern.finditer(text)), len(text)]
        ids = self._joined(text[a:b] for a, b in pairwise(cuts) if a < b)
        # What a normalizer makes of several characters, it makes of none alone.
        return self._joined(text) if self._found(ids) else ids

    def _joined(self, pieces: Iterable[str]) -> list[int]:
        return list(chain.from_iterable(encode(self._tokenizer, list(pieces))))

    def _spelled(self, text: str) -> list[int]:
        numbers = (self.ids[token] for token in self.pattern.findall(text))
        return [number for number in numbers if number in self._numbers]

    def _found(self, ids: Sequence[int]) -> list[int]:
        if self._numbers.isdisjoint(ids):  # nearly always, and without a Python loop over the ids
            return []
        return [number for number in ids if number in self._numbers]


def encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Encode texts without adding a BOS or any other token."""
    if not texts:
        return []
    with panics_as_errors(tokenizer.name_or_path):
        encoding = tokenizer(
            list(texts),
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
        )
    ids: list[list[int]] = encoding["input_ids"]
    return ids
