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

    Special and added tokens are left out: they are renamed, and added, for a chat template.
    """
    added_ids = tokenizer.added_tokens_decoder.keys() | other.added_tokens_decoder.keys()
    ours = {number: token for token, number in tokenizer.get_vocab().items()}
    theirs = {number: token for token, number in other.get_vocab().items()}
    for number in sorted(ours.keys() & theirs.keys() - added_ids):
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
