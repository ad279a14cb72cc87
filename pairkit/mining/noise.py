"""Noisy completions: the chosen text with tokens or words exchanged, or cut short.

MC-PO (section 5.4) adds to each candidate set its chosen text with two tokens exchanged, to show that the
negatives it samples are hard in meaning and not merely close in spelling.

Text is exchanged by the character spans of its tokens, not by decoding token ids, because a tokenizer may
change spaces or case or split characters: nothing but the exchange may change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, NamedTuple

from pairkit.errors import ModelError
from pairkit.mining import draws
from pairkit.mining.recipe import NoiseRecipe, TokenSwap
from pairkit.models.names import cannot_load
from pairkit.models.panic import panics_as_errors
from pairkit.models.resolve import resolve
from pairkit.models.tokenizer import open_tokenizer

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

KINDS = ("token_swap", "word_swap", "truncate")
# With few or repeated words a new text may be impossible; after so many tries the set gets none.
ATTEMPTS = 32

Propose = Callable[[Iterator[int]], str]
# From the index of a word or token to where it begins and ends in its text.
Span = Callable[[int], tuple[int, int]]


class Noise(NamedTuple):
    """Noisy texts: `owners[i]` is the index of the set that `texts[i]`, made by `kinds[i]`, joins."""

    owners: list[int]
    kinds: list[str]
    texts: list[str]
    impossible: int


def make(
    set_ids: Sequence[str], chosen: Sequence[str], present: list[set[str]], recipe: NoiseRecipe, seed: int
) -> Noise:
    """Make noise of each set's chosen text; none is in `present`, the set's texts, to which it is added."""
    noise = Noise([], [], [], 0)
    impossible = 0
    for kind, count, proposals in _kinds(chosen, recipe):
        for index in range(count):
            # Per kind and index, because another kind of noise must not change the texts of this one.
            keys = draws.keys(seed, f"{kind}/{index}", set_ids).tolist()
            for owner, (key, propose) in enumerate(zip(keys, proposals, strict=True)):
                text = _new_text(propose, draws.stream(key), present[owner])
                if text is None:
                    impossible += 1
                    continue
                # At once, because the next noise of this set has to differ from it too.
                present[owner].add(text)
                noise.owners.append(owner)
                noise.kinds.append(kind)
                noise.texts.append(text)
    return noise._replace(impossible=impossible)


def _kinds(chosen: Sequence[str], recipe: NoiseRecipe) -> Iterator[tuple[str, int, list[Propose | None]]]:
    if tokens := recipe.token_swap:
        spans = token_spans(chosen, tokens)
        proposals = [_swap(text, *of, tokens.swaps) for text, of in zip(chosen, spans, strict=True)]
        yield "token_swap", tokens.count, proposals
    if words := recipe.word_swap:
        yield "word_swap", words.count, [_swap(text, *word_spans(text), words.swaps) for text in chosen]
    if shorter := recipe.truncate:
        yield "truncate", shorter.count, [_cut(text) for text in chosen]


def _new_text(propose: Propose | None, numbers: Iterator[int], present: set[str]) -> str | None:
    if propose is None:
        return None
    for _ in range(ATTEMPTS):
        text = propose(numbers)
        if text not in present:
            return text
    return None


def _swap(text: str, count: int, span: Span, swaps: int) -> Propose | None:
    """Exchange `swaps` random pairs of the `count` spans of `text`, one pair after the other."""
    if count < 2:
        return None

    def propose(numbers: Iterator[int]) -> str:
        moves: dict[tuple[int, int], tuple[int, int]] = {}
        for _ in range(swaps):
            place = next(numbers) % count
            # An offset of 1 to count - 1, so that the second place is never the first.
            first, second = span(place), span((place + 1 + next(numbers) % (count - 1)) % count)
            if first == second or first[0] == first[1] or second[0] == second[1]:
                return text  # parts of one character, or an empty token: the caller tries again
            # By place, because a place that was exchanged before has another place's characters by now.
            moves[first], moves[second] = moves.get(second, second), moves.get(first, first)
        return _rearranged(text, moves)

    return propose


def _rearranged(text: str, moves: dict[tuple[int, int], tuple[int, int]]) -> str:
    """Return `text` with the characters of `moves[place]` at each place."""
    parts, position = [], 0
    for start, end in sorted(moves):
        parts += [text[position:start], text[slice(*moves[start, end])]]
        position = end
    return "".join([*parts, text[position:]])


def _cut(text: str) -> Propose | None:
    """Cut after at least one character that is not blank and before the last such one."""
    end, start = len(text.rstrip()), len(text) - len(text.lstrip())
    if end - start < 2:
        return None

    def propose(numbers: Iterator[int]) -> str:
        # Without blanks at the end, which would tell a cut text from a whole one.
        return text[: start + 1 + next(numbers) % (end - start - 1)].rstrip()

    return propose


def word_spans(text: str) -> tuple[int, Span]:
    """Return the number of words and where each of them is; the blanks between them stay in place."""
    return len(text.split()), partial(_word_span, text)


def _word_span(text: str, index: int) -> tuple[int, int]:
    rest = text.split(None, index)[index]
    start = len(text) - len(rest)
    return start, start + len(rest.split(None, 1)[0])


def token_spans(texts: Sequence[str], settings: TokenSwap) -> list[tuple[int, Span]]:
    """Return the number of tokens of each text, and where each of them is.

    A token begins where the one before it ends: blanks that a tokenizer skips belong to the token after
    them, as in byte-level vocabularies. All tokens of a character that is split over several have its span.
    """
    if not texts:
        return []
    # Special tokens have no characters that could be exchanged.
    backend = token_backend(settings.tokenizer, settings.revision)
    with panics_as_errors(settings.tokenizer):
        encodings = backend.encode_batch(list(texts), add_special_tokens=False)
    return [(len(encoding), partial(_token_span, encoding)) for encoding in encodings]


def _token_span(encoding: Encoding, index: int) -> tuple[int, int]:
    # Token by token, because the list of all offsets takes longer to build than the tokens.
    end = _token_end(encoding, index)
    while index and _token_end(encoding, index - 1) >= end:
        index -= 1
    return (_token_end(encoding, index - 1) if index else 0), end


def _token_end(encoding: Encoding, index: int) -> int:
    span = encoding.token_to_chars(index)
    # Some tokenizers have tokens of no character.
    return span[1] if span else 0


# Cached, because every unit needs it, in every worker.
@lru_cache(maxsize=4)
def token_backend(name: str, revision: str | None = None) -> Tokenizer:
    """Load the named tokenizer for its spans, which only fast tokenizers know.

    Raises `ModelError` for a tokenizer that cannot be loaded or is not a fast one.
    """
    place, revision = resolve(name, revision).tokenizer()
    try:
        tokenizer = open_tokenizer(place, revision=revision)
    except (OSError, ValueError) as error:
        raise cannot_load("tokenizer", name, error) from error
    if not tokenizer.is_fast:
        raise ModelError(
            f"the tokenizer {name!r} does not map tokens to characters; "
            "use one with a tokenizer.json, or word_swap"
        )
    backend: Tokenizer = tokenizer.backend_tokenizer
    # A tokenizer.json may cut or pad, and then the end of a long text would have no spans.
    backend.no_truncation()
    backend.no_padding()
    return backend
