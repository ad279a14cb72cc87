"""Prompts and completions as PairRM reads them, token ids included.

    [CLS]<|source|>SOURCE[SEP] [CLS]<|candidate1|>COMPLETION[SEP] [CLS]<|candidate2|>COMPLETION[SEP]

Each text is tokenized once, however many comparisons it takes part in, and truncated on its own: the source
to `source` tokens, each completion to half of what the source leaves of source + 2 x completion, counting
[CLS], prefix and [SEP]. That is the rule of the model card, and of llm-blender at batch size 1; in larger
batches of llm-blender the longest prompt decides for all, so that a score depends on the rest of the batch.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pairkit.models.chat.hidden import Fragments, Hiding, Rendered, any_of
from pairkit.models.chat.render import Messages
from pairkit.models.chat.sealed import Sealed
from pairkit.models.inference import Ids
from pairkit.models.panic import panics_as_errors
from pairkit.rankers.shown import shown_content

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SOURCE, FIRST, SECOND, ANY = PREFIXES = ("<|source|>", "<|candidate1|>", "<|candidate2|>", "<|candidate|>")
CLS, SEP, PAD, UNK = "[CLS]", "[SEP]", "[PAD]", "[UNK]"
EDGES = 3  # tokens around a text: [CLS], prefix, [SEP]
PREFIX_AT = 1  # position of the prefix
# With llm-blender's spelling and missing space, because the model was trained on this text.
FILL_IN = "Finish the following coversation in each i-th turn by filling in <Response i> with your response."


class Limits(NamedTuple):
    """The maximum number of tokens per source and per completion, including `EDGES`."""

    source: int
    completion: int

    def replaced(self, source: int | None, completion: int | None) -> Limits:
        """Return the limits with those replaced that are not None."""
        return Limits(source or self.source, completion or self.completion)


class Encoded(NamedTuple):
    """A set in token ids: the source, its completions, how many of them and whether the source are truncated.

    A completion has `ANY` in the place of its prefix, because the prefix depends on the side it is shown on.
    """

    source: Ids
    completions: list[Ids]
    truncated: int
    source_truncated: bool


def source_text(prompt: Messages) -> str:
    """Write a prompt as PairRM's source.

    A single user turn is its content, unchanged. A conversation is written as llm-blender's
    `compare_conversations` does, except that the earlier replies keep their places, because they are the same
    for all completions, and only the last reply is to be filled in. A system message comes first, as
    llm-blender's `instructions` do.
    """
    system = "".join(message["content"] + "\n\n" for message in prompt if message["role"] == "system")
    turns = [message for message in prompt if message["role"] != "system"]
    if len(turns) == 1:
        return system + shown_content(turns[0])
    # llm-blender has no name for a tool's turn, because its model has seen none.
    names = {"user": "USER", "assistant": "Assistant", "tool": "Tool"}
    lines = [f"{names[turn['role']]}: {shown_content(turn)}" for turn in turns]
    return system + FILL_IN + "\n".join([*lines, "Assistant: <Response 1>"])


@dataclass(frozen=True)
class Encoder:
    """A checkpoint's tokenizer and limits."""

    tokenizer: Tokenizer
    limits: Limits

    def sets(self, prompts: Sequence[Messages], completions: Sequence[Sequence[str]]) -> list[Encoded]:
        """Encode each prompt with its completions."""
        sources = self._texts(SOURCE, [source_text(prompt) for prompt in prompts])
        texts = iter(self._texts(ANY, [text for group in completions for text in group]))
        return [
            self._set(source, len(prompt) > 1, [next(texts) for _ in group])
            for source, prompt, group in zip(sources, prompts, completions, strict=True)
        ]

    def token(self, text: str) -> int:
        """Return the id of a special token; `load_pairrm_checkpoint` has checked that it exists."""
        token = self.tokenizer.token_to_id(text)
        assert token is not None
        return token

    @property
    def padding(self) -> int:
        """The id of the padding token."""
        return self.token(PAD)

    def _set(self, source: list[int], conversation: bool, completions: list[list[int]]) -> Encoded:
        room = self.limits.source - EDGES
        source_truncated = len(source) > room
        # A conversation loses its beginning, because its question is at the end.
        source = source[-room:] if conversation else source[:room]
        remaining = self.limits.source + 2 * self.limits.completion - (len(source) + EDGES)
        room = remaining // 2 - EDGES
        truncated = sum(len(ids) > room for ids in completions)
        return Encoded(
            self._frame(SOURCE, source),
            [self._frame(ANY, ids[:room]) for ids in completions],
            truncated,
            source_truncated,
        )

    def _frame(self, prefix: str, ids: list[int]) -> Ids:
        return np.array([self.token(CLS), self.token(prefix), *ids, self.token(SEP)], dtype=np.int64)

    def _texts(self, prefix: str, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text as they are after `prefix`, without the prefix itself."""
        clean = [_without_structure(text) for text in texts]
        # Tokenized with the prefix, because the first token differs after it.
        with panics_as_errors("of the PairRM checkpoint"):
            encodings = self.tokenizer.encode_batch(
                [prefix + text for text in clean], add_special_tokens=False
            )
        return [
            self._without_prefix(prefix, item.ids, text) for item, text in zip(encodings, clean, strict=True)
        ]

    def _without_prefix(self, prefix: str, ids: list[int], text: str) -> list[int]:
        if ids[0] != self.token(prefix):
            # A combining character at the start of the text has merged with the prefix, so the text is
            # encoded alone.
            ids, prefix = list(self.tokenizer.encode(text, add_special_tokens=False).ids), ""
        start = len(prefix) > 0
        if self._control.isdisjoint(ids[start:]):
            return ids[start:]
        hiding = Hiding(self._pattern, Fragments(()))
        return self._sealed.encode([Rendered(prefix + hiding.text(text), hiding.hidden)])[0][start:]

    @cached_property
    def _tokens(self) -> dict[str, int]:
        """The ids of the tokens that no text may spell; an unknown piece is what it is."""
        added_tokens = self.tokenizer.get_added_tokens_decoder().items()
        ids = {token.content: number for number, token in added_tokens if token.special}
        return {text: number for text, number in ids.items() if text != UNK} | {
            prefix: self.token(prefix) for prefix in PREFIXES
        }

    @cached_property
    def _control(self) -> frozenset[int]:
        return frozenset(self._tokens.values())

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return any_of(self._tokens)

    @cached_property
    def _sealed(self) -> Sealed:
        seal = Sealed.of(self.tokenizer, self._tokens, self._pattern)
        assert seal is not None, "the tokenizer of a checkpoint is read from a file"
        return seal


def _without_structure(text: str) -> str:
    """Remove from `text` the tokens that the model reads as the borders of source and completions."""
    for token in (SEP, *PREFIXES):
        text = text.replace(token, " ")
    return text
