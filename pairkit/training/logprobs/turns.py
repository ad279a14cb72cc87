"""The assistant's earlier turns in the prompts of a pass: texts of their own, in front of the completions.

A loss on one completion may cover a whole dialogue (`assistant_turns=all`) next to one that compares
completions. The turns are in the prompt, which passes once, and their log-probs are those that the same pass
gives at its positions. Where they are wanted each set's scored tokens are joined in this order: those of its
turns, then those of its completions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from pairkit.training.logprobs.selection import SetSelection
from pairkit.training.tokens.token_set import Column, Mask, TokenSet

TURNS = "turns_sum"  # what a pass is asked for: the field of `Logps`


def has_turns(work: Iterable[SetSelection]) -> bool:
    """Tell whether turns of any of these prompts count."""
    return any(item.tokens.turns is not None for item in work)


def turns_of(item: TokenSet) -> Column:
    """Return the tokens of the turns as a text of their own, of which all count; it may be empty."""
    ids = item.prompt[:0] if item.turns is None else item.prompt[item.turns]
    return Column(ids, None, None, "source")


def with_turns(work: Sequence[SetSelection]) -> list[Column]:
    """Return the texts of a pass in their order: of each set its turns, then its completions."""
    return [column for item in work for column in (turns_of(item.tokens), *item.picked)]


def turn_tokens(work: Sequence[SetSelection], completions: Sequence[int]) -> Mask:
    """Tell which of the tokens of a pass are of turns.

    Args:
        completions: for each set, how many tokens its completions have in that pass.
    """
    counts = [
        count
        for item, after in zip(work, completions, strict=True)
        for count in (item.tokens.turn_count, after)
    ]
    return np.repeat(np.tile([True, False], len(work)), counts)
