"""Noisy completions: the chosen text with tokens or words exchanged, or cut short.

MC-PO (section 5.3) adds to each candidate set its chosen text with two tokens exchanged, to show that the
negatives it draws are hard in meaning and not merely close in spelling.

The text is exchanged by the spans that the tokenizer says its tokens cover, not by decoding token ids:
nothing but the exchange changes, whatever the tokenizer does to spaces, case or split characters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from pairkit.errors import ModelError
from pairkit.mining import draws
from pairkit.mining.recipe import NoiseRecipe, TokenSwap

KINDS = ("token_swap", "word_swap", "truncate")
# A text of few or repeated words can make it impossible to find a new one; then the set gets none.
ATTEMPTS = 32

_BLANKS = re.compile(r"(\s+)")

Propose = Callable[[Iterator[int]], str]


class Noise(NamedTuple):
    """Noisy texts: `owners[i]` is the index of the set that `texts[i]`, made by `kinds[i]`, joins."""

    owners: list[int]
    kinds: list[str]
    texts: list[str]
    impossible: int


def make(
    set_ids: Sequence[str], chosen: Sequence[str], taken: list[set[str]], recipe: NoiseRecipe, seed: int
) -> Noise:
    """Noise for each set's chosen text; none is in `taken`, the texts of that set, to which it is added."""
    noise = Noise([], [], [], 0)
    impossible = 0
    for kind, count, proposals in _kinds(chosen, recipe):
        for index in range(count):
            keys = draws.keys(seed, f"{kind}/{index}", set_ids).tolist()
            for owner, (key, propose) in enumerate(zip(keys, proposals, strict=True)):
                text = _new_text(propose, draws.stream(key), taken[owner])
                if text is None:
                    impossible += 1
                    continue
                taken[owner].add(text)
                noise.owners.append(owner)
                noise.kinds.append(kind)
                noise.texts.append(text)
    return noise._replace(impossible=impossible)


def _kinds(chosen: Sequence[str], recipe: NoiseRecipe) -> Iterator[tuple[str, int, list[Propose | None]]]:
    if tokens := recipe.token_swap:
        cut = token_pieces(chosen, tokens)
        yield "token_swap", tokens.count, [_swap(p, range(len(p)), tokens.swaps) for p in cut]
    if words := recipe.word_swap:
        yield "word_swap", words.count, [_swap_words(text, words.swaps) for text in chosen]
    if shorter := recipe.truncate:
        yield "truncate", shorter.count, [_cut(text) for text in chosen]


def _new_text(propose: Propose | None, numbers: Iterator[int], taken: set[str]) -> str | None:
    if propose is None:
        return None
    for _ in range(ATTEMPTS):
        text = propose(numbers)
        if text not in taken:
            return text
    return None


def _swap(pieces: list[str], places: range, swaps: int) -> Propose | None:
    """Exchanges `swaps` random pairs of the pieces at `places`, one pair after the other."""
    if len(places) < 2:
        return None

    def propose(numbers: Iterator[int]) -> str:
        order = pieces.copy()
        for _ in range(swaps):
            first = next(numbers) % len(places)
            second = (first + 1 + next(numbers) % (len(places) - 1)) % len(places)
            i, j = places[first], places[second]
            order[i], order[j] = order[j], order[i]
        return "".join(order)

    return propose


def _swap_words(text: str, swaps: int) -> Propose | None:
    pieces = _BLANKS.split(
        text
    )  # word, blanks, word, ...; where the text begins or ends blank, that word is ""
    start, stop = 0 if pieces[0] else 2, len(pieces) if pieces[-1] else len(pieces) - 1
    return _swap(pieces, range(start, stop, 2), swaps)


def _cut(text: str) -> Propose | None:
    """Cuts after at least one character that is not blank and before the last such one."""
    end, start = len(text.rstrip()), len(text) - len(text.lstrip())
    if end - start < 2:
        return None

    def propose(numbers: Iterator[int]) -> str:
        return text[: start + 1 + next(numbers) % (end - start - 1)].rstrip()

    return propose


def token_pieces(texts: Sequence[str], settings: TokenSwap) -> list[list[str]]:
    """Each text cut where its tokens end; the pieces joined are the text.

    Blanks that a tokenizer leaves out belong to the token after them, as in byte-level vocabularies; a
    character that is split over tokens belongs to the first of them.
    """
    if not texts:
        return []
    tokenizer = load_tokenizer(settings.tokenizer, settings.revision)
    encoded = tokenizer(
        list(texts),
        add_special_tokens=False,
        return_offsets_mapping=True,
        return_attention_mask=False,
        verbose=False,  # no warning about the model's context: nothing goes through the model
    )
    return [_cut_at(text, spans) for text, spans in zip(texts, encoded["offset_mapping"], strict=True)]


def _cut_at(text: str, spans: list[tuple[int, int]]) -> list[str]:
    pieces, start = [], 0
    for _, end in spans:
        if end > start:
            pieces.append(text[start:end])
            start = end
    return [*pieces, text[start:]] if start < len(text) else pieces


@lru_cache(maxsize=4)
def load_tokenizer(name: str, revision: str | None = None) -> Any:
    """The named tokenizer. Raises `ModelError` where there is none, or none that knows its tokens' spans."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"cannot load the tokenizer {name!r}: {str(error).splitlines()[0]}. "
            "Give a directory with a tokenizer, or a hub id that can be reached."
        ) from error
    if not tokenizer.is_fast:
        raise ModelError(
            f"the tokenizer {name!r} does not say which characters its tokens cover; "
            "use one with a tokenizer.json, or word_swap"
        )
    return tokenizer
