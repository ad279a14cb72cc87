"""Which tokens of a packed sequence attend to which: as a mask, and as ranges of keys.

Shapes: N tokens of a sequence, M tokens of the keys they may attend to.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pairkit.training.logprobs.blocks import Ranges, runs

PROMPT = -1  # no completion: what every completion of the set may see


class TokenLayout(NamedTuple):
    """What decides which tokens attend to which, int32 `[N]` each.

    Attributes:
        owner: the set.
        text: the completion, counted over the whole sequence; `PROMPT` for tokens of a prompt.
        position: in the text, from 0; a completion continues its prompt.
    """

    owner: npt.NDArray[np.int32]
    text: npt.NDArray[np.int32]
    position: npt.NDArray[np.int32]

    def sees(self, keys: TokenLayout, window: int | None) -> npt.NDArray[np.bool_]:
        """Return `[N, M]`: which keys each token attends to.

        A token must not see another set, because sets are independent examples; nor another completion of its
        own set, because each is scored as if it were the only answer; nor a later position, because it would
        see what it has to predict. A window is counted in positions of the text, not of the sequence, because
        that is what a model counts that has one completion after the prompt.
        """
        distance = self.position[:, None] - keys.position  # [N, M], positions; negative for later keys
        mask: npt.NDArray[np.bool_] = (self.owner[:, None] == keys.owner) & (distance >= 0)
        mask &= (keys.text == PROMPT) | (keys.text == self.text[:, None])
        return mask if window is None else mask & (distance < window)

    def ranges(self, keys: TokenLayout, window: int | None) -> tuple[Ranges, Ranges]:
        """Return the keys that each token sees, as `sees` does: a range in its prompt, one in its own text.

        A token of a prompt has both in one, the first.
        """
        first = 0 if window is None else np.maximum(self.position.astype(np.int64) - window + 1, 0)
        # Where the keys of each prompt are, by set, and those of each completion, by its number; [N] each.
        prompts = runs(np.where(keys.text == PROMPT, keys.owner, -1), int(keys.owner.max()) + 1)
        texts = runs(keys.text.astype(np.int64), int(keys.text.max()) + 1)
        prompt = Ranges(*(ends[self.owner] for ends in prompts))
        size = prompt.stop - prompt.start  # tokens of the prompt: the position of a completion's first
        completion = self.text != PROMPT
        own = Ranges(*(np.where(completion, ends[self.text], 0) for ends in texts))
        # From a key's position to its index: positions of a prompt begin at 0, of a completion at `size`.
        return (
            _within(prompt, prompt.start + first, prompt.start + self.position + 1),
            _within(own, own.start + first - size, own.start + self.position + 1 - size),
        )

    def text_counts(self) -> npt.NDArray[np.int64]:
        """Return `[N]`: of how many completions' texts each token is a part; a prompt's of all of its set."""
        # Every completion of a sequence has a number of its own, whatever the set.
        _, first = np.unique(self.text, return_index=True)
        owners = self.owner[first[self.text[first] != PROMPT]]  # [completions]
        per_set = np.bincount(owners, minlength=int(self.owner.max()) + 1)
        return np.where(self.text == PROMPT, per_set[self.owner], 1)

    def slice(self, start: int, stop: int) -> TokenLayout:
        """Return the tokens from `start` to `stop`."""
        return TokenLayout(*(values[start:stop] for values in self))

    def concatenate(self, others: TokenLayout) -> TokenLayout:
        """Return these tokens followed by others."""
        return TokenLayout(*(np.concatenate(values) for values in zip(self, others, strict=True)))


def _within(ranges: Ranges, start: npt.NDArray[np.int64], stop: npt.NDArray[np.int64]) -> Ranges:
    """Return what is of these ranges and from `start` to `stop` as well, `[N]` each."""
    start, stop = np.maximum(ranges.start, start), np.minimum(ranges.stop, stop)
    return Ranges(start, np.maximum(start, stop))
