"""A copy of a tokenizer in which no text can spell a control token."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from pairkit.models.chat.hidden import LAST, Rendered, restore
from pairkit.models.panic import panics_as_errors

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class Sealed:
    """A copy of a fast tokenizer in which control tokens have names that no text contains.

    In it a text that spells out a control token is only text, also one that the normalizer would turn into
    one, and everything else is as in the tokenizer: control tokens are written by their new names, in the
    same text, so that its neighbors see what they saw.
    """

    def __init__(
        self, copy: Tokenizer, names: dict[str, str], ids: dict[int, int], pattern: re.Pattern[str]
    ) -> None:
        self._copy, self._names, self._ids, self._pattern = copy, names, ids, pattern

    @classmethod
    def of(cls, backend: Tokenizer, control: Mapping[str, int], pattern: re.Pattern[str]) -> Sealed | None:
        """Make the copy; None for a tokenizer that cannot be copied.

        Args:
            control: the ids of the control tokens, by their texts.
            pattern: what matches any of them.
        """
        from tokenizers import Tokenizer

        try:
            content = orjson.loads(backend.to_str())
        except Exception:  # of a component written in Python; tokenizers raises no other type
            return None
        # Random, so that no text can be made to contain one.
        salt = secrets.token_hex(8)
        names = {text: f"{chr(LAST + 1)}{salt}{i}{chr(LAST + 2)}" for i, text in enumerate(control)}
        real = {}  # the id of each added token, by its name in the copy
        for token in content["added_tokens"]:
            if token["content"] in names:
                # A normalizer knows nothing of the new names; the pattern has looked at what is around them.
                token |= {"content": names[token["content"]], "normalized": False, "single_word": False}
            real[token["content"]] = token["id"]
        content |= {"truncation": None, "padding": None, "model": _renamed(content["model"], names)}
        copy = Tokenizer.from_buffer(orjson.dumps(content))
        # Added tokens of the copy may have other ids than those of the tokenizer.
        own = copy.get_vocab(with_added_tokens=True)
        ids = {own[name]: number for name, number in real.items()}
        return cls(copy, names, ids, pattern)

    def encode(self, texts: Sequence[Rendered]) -> list[list[int]]:
        """Return the ids of texts: control tokens that are not hidden are tokens, all else is text."""
        sealed_texts = [
            restore(self._pattern.sub(lambda token: self._names[token.group()], text.text), text.hidden)
            for text in texts
        ]
        with panics_as_errors("with its control tokens renamed"):
            encodings = self._copy.encode_batch(sealed_texts, add_special_tokens=False)
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
