"""Control tokens, and texts in which what looks like one is only text.

A control token is an added token that structures a conversation: a special one, one that the template writes,
a mark of a thought or a tool call. Whoever can write one into a message could otherwise end a turn and begin
another. Other added tokens (runs of white space, words that were added to a vocabulary) are text like any.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from pairkit.models.chat.marks import THOUGHT_MARKS, TOOL_MARKS, Own

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

# Plane 16 is for private use. Templates see one of its characters in place of a control token that a message
# spells out: they trim and split contents, which a longer stand-in would not survive.
FIRST, LAST = 0x100000, 0x10FFFD
_PIPED = re.compile(r"<[|｜].*>|<.*[|｜]>", re.DOTALL)
_STAND_INS = re.compile(f"[{chr(FIRST)}-{chr(LAST)}]")


class Rendered(NamedTuple):
    """A text with stand-ins: the character `FIRST + i` stands for the text `hidden[i]`."""

    text: str
    hidden: tuple[str, ...] = ()

    @property
    def plain(self) -> str:
        """The text as a reader would see it."""
        return _restore(self.text, self.hidden)


class Hiding:
    """Replaces control tokens in the texts of one conversation by stand-ins, one per token."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self._pattern = pattern
        self._stand_ins: dict[str, str] = {}

    @property
    def hidden(self) -> tuple[str, ...]:
        """What the stand-ins stand for, in their order."""
        return tuple(self._stand_ins)

    def text(self, text: str, own: Own | None = None) -> str:
        """Hide every control token in `text` except those within the marks of `own`."""
        if not self._pattern.search(text):  # nearly always
            return text
        if own is None:
            return self._pattern.sub(self._hide, text)
        parts, start = [], 0
        for mark in own.finditer(text):
            parts += [self._pattern.sub(self._hide, text[start : mark.start()]), mark.group()]
            start = mark.end()
        return "".join([*parts, self._pattern.sub(self._hide, text[start:])])

    def value(self, value: Any) -> Any:
        """Hide every control token in the texts of a JSON value, keys included."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(key): self.value(each) for key, each in value.items()}
        return [self.value(each) for each in value] if isinstance(value, list) else value

    def _hide(self, found: re.Match[str]) -> str:
        text = found.group()
        return self._stand_ins.setdefault(text, chr(FIRST + len(self._stand_ins)))


class ControlTokens:
    """The control tokens of a tokenizer and a template, which is given as text."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, template: str) -> None:
        special, known = set(tokenizer.all_special_tokens), {*THOUGHT_MARKS, *TOOL_MARKS}
        self._tokenizer = tokenizer
        self.ids: dict[str, int] = {}  # of each control token, by its text
        for number, token in tokenizer.added_tokens_decoder.items():
            text = str(token)
            written = not text.isalnum() and text in template
            control = token.special or text in special or text in known or written or _PIPED.fullmatch(text)
            if control and text and not text.isspace():
                self.ids[text] = int(number)
        self.pattern = _pattern(self.ids)
        # Stand-ins that a text already has are hidden too, so that every one is known.
        self._hidden = re.compile(f"{self.pattern.pattern}|[{chr(FIRST)}-{chr(LAST)}]")

    def hiding(self) -> Hiding:
        """Return what hides control tokens of one conversation."""
        return Hiding(self._hidden)

    def encode(self, texts: Sequence[Rendered]) -> list[list[int]]:
        """Return the ids of texts: control tokens that are not hidden are tokens, hidden ones are text.

        No BOS is added. A text without stand-ins has exactly the ids that the tokenizer gives it.
        """
        plain = [i for i, text in enumerate(texts) if not (text.hidden and _STAND_INS.search(text.text))]
        ids: list[list[int]] = [[] for _ in texts]
        # One call, because fast tokenizers work on many texts in parallel.
        for i, encoded in zip(plain, encode(self._tokenizer, [texts[i].text for i in plain]), strict=True):
            ids[i] = encoded
        others = sorted(set(range(len(texts))) - set(plain))
        if others:
            for i, encoded in zip(others, self._encode_hidden([texts[i] for i in others]), strict=True):
                ids[i] = encoded
        return ids

    @cached_property
    def _encode_hidden(self) -> Callable[[Sequence[Rendered]], list[list[int]]]:
        renamed = _Renamed.of(self._tokenizer, self.ids, self.pattern)
        return renamed.encode if renamed else self._encode_in_pieces

    def _encode_in_pieces(self, texts: Sequence[Rendered]) -> list[list[int]]:
        """Encode without a copy of the tokenizer, token by token and piece by piece of text between them.

        A control token that a text spells out is divided after its first character, so that it is none.
        """
        ids: list[list[int]] = []
        for text in texts:
            row: list[int] = []
            start = 0
            for token in [*self.pattern.finditer(text.text), None]:
                piece = _restore(text.text[start : token.start() if token else None], text.hidden)
                cuts = [0, *(found.start() + 1 for found in self.pattern.finditer(piece)), len(piece)]
                parts = [piece[a:b] for a, b in pairwise(cuts) if a < b]
                row += chain.from_iterable(encode(self._tokenizer, parts))
                if token:
                    row.append(self.ids[token.group()])
                    start = token.end()
            ids.append(row)
        return ids


class _Renamed:
    """A copy of a fast tokenizer in which control tokens have names that no text contains.

    In it a text that spells out a control token is only text, and everything else is as in the tokenizer:
    control tokens are written by their new names, in the same text, so that its neighbors see what they saw.
    """

    def __init__(
        self, copy: Tokenizer, names: dict[str, str], ids: dict[int, int], pattern: re.Pattern[str]
    ) -> None:
        self._copy, self._names, self._ids, self._pattern = copy, names, ids, pattern

    @classmethod
    def of(
        cls, tokenizer: PreTrainedTokenizerBase, control: dict[str, int], pattern: re.Pattern[str]
    ) -> _Renamed | None:
        """Make the copy; None for a tokenizer that cannot be copied."""
        from tokenizers import Tokenizer

        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            return None
        try:
            content = json.loads(backend.to_str())
        except Exception:  # of a component written in Python; tokenizers raises no other type
            return None
        # Random, so that no text can be made to contain one.
        salt = secrets.token_hex(8)
        names = {text: f"{chr(LAST + 1)}{salt}{i}{chr(LAST + 2)}" for i, text in enumerate(control)}
        real = {}  # the id of each added token, by its name in the copy
        for token in content["added_tokens"]:
            # A normalizer knows nothing of the new names.
            token["normalized"] &= token["content"] not in names
            token["content"] = names.get(token["content"], token["content"])
            real[token["content"]] = token["id"]
        content |= {"truncation": None, "padding": None, "model": _renamed(content["model"], names)}
        copy = Tokenizer.from_str(json.dumps(content))
        # Added tokens of the copy may have other ids than those of the tokenizer.
        own = copy.get_vocab(with_added_tokens=True)
        ids = {own[name]: number for name, number in real.items()}
        return cls(copy, names, ids, pattern)

    def encode(self, texts: Sequence[Rendered]) -> list[list[int]]:
        sealed = [
            _restore(self._pattern.sub(lambda token: self._names[token.group()], text.text), text.hidden)
            for text in texts
        ]
        encodings = self._copy.encode_batch(sealed, add_special_tokens=False)
        return [[self._ids.get(number, number) for number in encoding.ids] for encoding in encodings]


def _renamed(model: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """Rename control tokens in a model's own vocabulary, where a text could otherwise find them."""
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        vocabulary = {names.get(piece, piece): number for piece, number in vocabulary.items()}
    else:  # Unigram: pairs of piece and score
        vocabulary = [[names.get(piece, piece), score] for piece, score in vocabulary]
    model = model | {"vocab": vocabulary}
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    if "merges" in model:
        pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
        model["merges"] = [pair for pair in pairs if not {*pair, "".join(pair)} & names.keys()]
    return model


def _restore(text: str, hidden: tuple[str, ...]) -> str:
    return _STAND_INS.sub(lambda found: hidden[ord(found.group()) - FIRST], text) if hidden else text


def _pattern(tokens: dict[str, int]) -> re.Pattern[str]:
    """Match any of the tokens, the longest first, as tokenizers do."""
    if not tokens:
        return re.compile(r"(?!)")
    # Looking at the first character first keeps a search over hundreds of tokens fast.
    first = "".join(sorted({re.escape(token[0]) for token in tokens}))
    longest = "|".join(map(re.escape, sorted(tokens, key=lambda token: (-len(token), token))))
    return re.compile(f"(?=[{first}])(?:{longest})")


def encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Encode texts without adding a BOS or any other token."""
    if not texts:
        return []
    encoded = tokenizer(
        list(texts),
        add_special_tokens=False,
        return_attention_mask=False,
        return_token_type_ids=False,
    )
    ids: list[list[int]] = encoded["input_ids"]
    return ids
