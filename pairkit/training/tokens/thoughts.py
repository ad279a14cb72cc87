"""How many tokens of a completion belong to its thought."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def thought_length(
    tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], closing: str, count: int = 1
) -> int:
    """Return how many of `ids` belong to the thought that they begin with, its closing mark included.

    By decoding, because the ids may be those that a model sampled, for which no tokenizer has offsets.

    Args:
        closing: the mark that ends the thought; "" for a thought that was cut, to which all ids belong.
        count: which mark of that text ends it, because a thought may contain the mark as text.
    """
    if not closing:
        return len(ids)

    def closed(length: int) -> bool:
        text: str = tokenizer.decode(
            list(ids[:length]),
            skip_special_tokens=False,
            clean_up_tokenization_spaces=False,
            spaces_between_special_tokens=False,
        )
        return text.count(closing) >= count

    # The first token that completes the mark; more tokens never take it back.
    return bisect_left(range(len(ids) + 1), True, key=closed)
