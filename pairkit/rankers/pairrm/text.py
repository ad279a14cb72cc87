"""Prompts and completions as PairRM reads them, token ids included.

    [CLS]<|source|>SOURCE[SEP] [CLS]<|candidate1|>COMPLETION[SEP] [CLS]<|candidate2|>COMPLETION[SEP]

Each text is tokenized once, whatever the number of its comparisons, and truncated by itself: the source to
`source` tokens, each completion to half of what source + 2 x completion leave, [CLS], prefix and [SEP]
counted. That is the rule of the model card, and of llm-blender at batch size 1; there the longest prompt of
a batch decides for all, so that a score depends on its batch-mates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pairkit.models.chat import Messages
from pairkit.models.inference import Ids

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SOURCE, FIRST, SECOND, ANY = PREFIXES = ("<|source|>", "<|candidate1|>", "<|candidate2|>", "<|candidate|>")
CLS, SEP, PAD = "[CLS]", "[SEP]", "[PAD]"
EDGES = 3  # the tokens that are no text: [CLS], prefix, [SEP]
PREFIX_AT = 1  # the prefix's place among them
# As llm-blender writes it, spelling and missing space included: the model was trained on it.
FILL_IN = "Finish the following coversation in each i-th turn by filling in <Response i> with your response."


class Limits(NamedTuple):
    """The most tokens of a source and of a completion, `EDGES` included."""

    source: int
    completion: int

    def replaced(self, source: int | None, completion: int | None) -> Limits:
        """With what is given instead."""
        return Limits(source or self.source, completion or self.completion)


class Encoded(NamedTuple):
    """A set in token ids: the source, its completions, and how many of the completions were cut.

    A completion holds `ANY` where the prefix of the side on which it stands is to be.
    """

    source: Ids
    completions: list[Ids]
    truncated: int


def source_text(prompt: Messages) -> str:
    """A prompt as PairRM's source.

    One user turn is its content as it is. A conversation is written as llm-blender's
    `compare_conversations` does, but for the earlier replies: they are the same for all completions, so
    they stand where they were said, and what is to be filled in is the last one. A system message comes
    first, as llm-blender's `instructions` do.
    """
    system = "".join(message["content"] + "\n\n" for message in prompt if message["role"] == "system")
    turns = [message for message in prompt if message["role"] != "system"]
    if len(turns) == 1:
        return system + turns[0]["content"]
    names = {"user": "USER", "assistant": "Assistant"}
    lines = [f"{names[turn['role']]}: {turn['content']}" for turn in turns]
    return system + FILL_IN + "\n".join([*lines, "Assistant: <Response 1>"])


@dataclass(frozen=True)
class Encoder:
    """A checkpoint's tokenizer and limits."""

    tokenizer: Tokenizer
    limits: Limits

    def sets(self, prompts: Sequence[Messages], completions: Sequence[Sequence[str]]) -> list[Encoded]:
        """Each prompt with its completions."""
        sources = self._texts(SOURCE, [source_text(prompt) for prompt in prompts])
        texts = iter(self._texts(ANY, [text for group in completions for text in group]))
        return [
            self._set(source, len(prompt) > 1, [next(texts) for _ in group])
            for source, prompt, group in zip(sources, prompts, completions, strict=True)
        ]

    def token(self, text: str) -> int:
        """The id of a special token, which the checkpoint is known to have."""
        found = self.tokenizer.token_to_id(text)
        assert found is not None
        return found

    @property
    def padding(self) -> int:
        return self.token(PAD)

    def _set(self, source: list[int], conversation: bool, completions: list[list[int]]) -> Encoded:
        room = self.limits.source - EDGES
        # The question of a conversation stands at its end.
        kept = source[-room:] if conversation else source[:room]
        left = self.limits.source + 2 * self.limits.completion - (len(kept) + EDGES)
        room = left // 2 - EDGES
        cut = sum(len(ids) > room for ids in completions)
        return Encoded(
            self._framed(SOURCE, kept), [self._framed(ANY, ids[:room]) for ids in completions], cut
        )

    def _framed(self, prefix: str, ids: list[int]) -> Ids:
        return np.array([self.token(CLS), self.token(prefix), *ids, self.token(SEP)], dtype=np.int64)

    def _texts(self, prefix: str, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text as it stands behind `prefix`, which is left out."""
        clean = [_without_structure(text) for text in texts]
        encoded = self.tokenizer.encode_batch([prefix + text for text in clean], add_special_tokens=False)
        return [self._behind(prefix, item.ids, text) for item, text in zip(encoded, clean, strict=True)]

    def _behind(self, prefix: str, ids: list[int], text: str) -> list[int]:
        if ids[0] == self.token(prefix):
            return ids[1:]
        # A combining character at the start of the text has become one with the prefix.
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)


def _without_structure(text: str) -> str:
    """`text` without what the model reads as the borders of source and completions."""
    for token in (SEP, *PREFIXES):
        text = text.replace(token, " ")
    return text
