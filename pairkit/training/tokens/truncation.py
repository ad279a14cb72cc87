"""What cutting texts to `max_length` loses: how much is cut, and pairs whose two completions became equal.

A chosen completion and a negative that have the same tokens after cutting are no pair: no loss can tell them
apart. Such a negative is left out of its set, and a set without another one is refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pairkit.training.tokens.sets import Tokenized
from pairkit.training.tokens.token_set import Refused, TokenSet, Whole

IDENTICAL = "identical_after_truncation"
SHARE = 0.01  # of the texts, cut by the `max_length` that is proposed
Counts = npt.NDArray[np.int64]


class Truncation(NamedTuple):
    """What was cut of a split; a text is a prompt with one of its completions.

    Attributes:
        prompts, prompts_cut: prompts, and those that lost their beginning.
        completions, completions_cut: completions, and those that lost their end.
        identical_pairs: negatives left out because they have the tokens of the chosen completion.
        one_percent_length: the smallest `max_length` that cuts at most 1 % of the texts.
    """

    prompts: int
    prompts_cut: int
    completions: int
    completions_cut: int
    identical_pairs: int
    one_percent_length: int

    def plain(self) -> dict[str, int]:
        """Return the counts as plain data."""
        return dict(self._asdict())

    def sentence(self, max_length: int) -> str | None:
        """Describe what was cut in one line; None where nothing was."""
        if not self.prompts_cut and not self.completions_cut:
            return None
        remark = ""
        if self.identical_pairs:
            remark = f"; {self.identical_pairs:,} pairs have the same tokens after it and are not used"
        advice = ""
        if self.one_percent_length > max_length:
            advice = f"; max_length={self.one_percent_length} would cut 1 % of the texts"
        return (
            f"max_length={max_length} cuts {self.completions_cut:,} of {self.completions:,} completions and "
            f"{self.prompts_cut:,} of {self.prompts:,} prompts{remark}{advice}"
        )


def distinct(item: TokenSet, whole: Whole, max_length: int) -> tuple[TokenSet | Refused, Whole]:
    """Leave out the negatives that cutting made equal to the chosen completion; count them in `whole`.

    Args:
        item: a set after cutting, completion 0 chosen; before, no negative had the tokens of it.
        whole: its sizes before, completion by completion.
        max_length: tokens of a prompt with a completion.
    """
    chosen, *negatives = item.columns
    remaining = tuple(column for column in negatives if not np.array_equal(column.ids, chosen.ids))
    missing = len(negatives) - len(remaining)
    whole = whole._replace(identical=missing)
    if not missing:
        return item, whole
    if remaining:
        return item._replace(columns=(chosen, *remaining)), whole
    detail = (
        f"chosen and rejected are the same {len(chosen.ids)} tokens at max_length={max_length}; "
        f"max_length={whole.prompt + max(whole.completions)} would leave them whole"
    )
    return Refused(item.set_id, IDENTICAL, detail), whole


def truncation(tokenized: Tokenized, max_length: int, max_prompt_length: int | None) -> Truncation:
    """Count what was cut of a split, also of the sets that are refused for it.

    Args:
        max_length: tokens of a prompt with a completion.
        max_prompt_length: as the recipe has it; None is 7/8 of `max_length`.
    """
    prompt, columns, completion, identical = _sizes(tokenized)
    limit = prompt_limit(max_length, max_prompt_length)
    prompt_lengths = np.repeat(np.minimum(prompt, limit), columns)  # [completions], tokens
    return Truncation(
        len(prompt),
        int((prompt > limit).sum()),
        len(completion),
        int((prompt_lengths + completion > max_length).sum()),
        int(identical.sum()),
        _length_that_cuts(np.repeat(prompt, columns), completion, max_prompt_length),
    )


def prompt_limit(max_length: int, max_prompt_length: int | None) -> int:
    """Return the most tokens of a prompt; the rest of `max_length` is left for the completion."""
    return max_prompt_length or max(1, max_length * 7 // 8)


def _length_that_cuts(prompt: Counts, completion: Counts, max_prompt_length: int | None) -> int:
    """Find the smallest `max_length` that cuts at most `SHARE` of the texts; 0 without any."""
    if not len(completion):
        return 0
    if max_prompt_length is None:
        # The smallest L that leaves a text whole: both fit, and the prompt is within 7/8 of L.
        lengths = np.maximum(prompt + completion, -(-prompt * 8 // 7))
    else:
        lengths = np.minimum(prompt, max_prompt_length) + completion
    count = math.floor(SHARE * len(lengths))  # texts that may be cut
    return int(np.sort(lengths)[len(lengths) - 1 - count])


def _sizes(tokenized: Tokenized) -> tuple[Counts, Counts, Counts, Counts]:
    """Return prompts, completions per set, completions in tokens, and pairs left out per set."""
    parts: list[tuple[Any, ...]] = [(np.empty(0, np.int64),) * 4, *_batch_sizes(tokenized)]
    prompt, columns, completion, identical = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return prompt, columns, completion, identical


def _batch_sizes(tokenized: Tokenized) -> Iterator[tuple[Counts, ...]]:
    for batch in tokenized.batches:
        whole = batch["whole"].drop_null()
        sizes = whole.field("completions")
        flat = sizes.flatten()
        lengths = np.diff(np.from_dlpack(sizes.offsets))
        fields = (whole.field("prompt"), flat, whole.field("identical"))
        prompt, completion, identical = (np.from_dlpack(array).astype(np.int64) for array in fields)
        yield prompt, lengths, completion, identical
