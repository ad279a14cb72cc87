"""Whether two tokenizers mean the same tokens by the same ids.

A model is given ids. Those of another vocabulary are other words to it, and it answers with a number all the
same, so that nothing but this comparison shows the mistake.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pairkit.errors import ModelError
from pairkit.models.resolve import resolve
from pairkit.models.tokenizer import open_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def own_tokenizer(
    name: str, *, revision: str | None, trust_remote_code: bool
) -> PreTrainedTokenizerBase | None:
    """Load the tokenizer that a model comes with; None for a model without one."""
    place, at = resolve(name, revision).tokenizer()
    try:
        return open_tokenizer(place, revision=at, trust_remote_code=trust_remote_code)
    except (OSError, ValueError):
        # There is no tokenizer: the size of the vocabulary is all that can be compared.
        return None


def first_difference(
    tokenizer: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase
) -> tuple[int, str, str] | None:
    """Return the first id that means another token to `other`, and both tokens; None if there is none.

    Special and added tokens are left out: they are renamed, and added, for a chat template. A token that is
    none of them and has another id in `other` is a difference whatever `other` has at its id.
    """
    ids, other_ids = tokenizer.get_vocab(), other.get_vocab()
    ours = {number: token for token, number in ids.items()}
    theirs = {number: token for token, number in other_ids.items()}
    plain = ours.keys() - tokenizer.added_tokens_decoder
    other_plain = theirs.keys() - other.added_tokens_decoder
    moved = {
        number
        for token in ids.keys() & other_ids.keys()
        if ids[token] != other_ids[token] and ids[token] in plain and other_ids[token] in other_plain
        for number in (ids[token], other_ids[token])
    }
    for number in sorted((plain & other_plain) | (moved & ours.keys() & theirs.keys())):
        if ours[number] != theirs[number]:
            return number, ours[number], theirs[number]
    return None


def check_same_tokens(
    tokenizer: PreTrainedTokenizerBase,
    name: str,
    *,
    what: str,
    remedy: str,
    revision: str | None,
    trust_remote_code: bool,
) -> None:
    """Refuse a model whose own tokenizer has another vocabulary than the one whose ids it is given.

    Args:
        what: what the model is in the run, for the message.
        remedy: what to do.

    Raises:
        ModelError: the vocabularies differ.
    """
    other = own_tokenizer(name, revision=revision, trust_remote_code=trust_remote_code)
    difference = None if other is None else first_difference(tokenizer, other)
    if difference is not None:
        number, ours, theirs = difference
        raise ModelError(
            f"{what} {name!r} has another vocabulary: token {number} is {theirs!r} there and {ours!r} in the "
            f"tokenizer of this run; {remedy}"
        )
