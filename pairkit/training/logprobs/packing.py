"""Candidate sets as one sequence: each prompt once, then its completions, nothing padded.

The positions of a completion continue those of its prompt, and its tokens attend to that prompt and to
themselves. Each completion therefore has the log-prob that it has alone, while a prompt with K completions
costs one prompt instead of K.

Attention runs over the sequence in segments: a prompt, a completion (which also attends to the segment of its
prompt), or a block of small sets with a mask of their own, because for small sets one more call costs more
than the products that the mask hides.

More completions of the same prompts can follow in a sequence of their own, on the prompts' cached keys and
values (`pack_after`).

Shapes: N tokens of a sequence, M tokens of the keys they may attend to, T completion tokens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask

from pairkit.training.logprobs.blocks import block_mask
from pairkit.training.logprobs.padding import ModelInputs
from pairkit.training.logprobs.token_layout import PROMPT, TokenLayout
from pairkit.training.tokens.token_set import Ids, Mask

# Tokens of small sets that attend in one call: below it, products that a mask hides cost less than a call.
BLOCK = 256

PromptTexts = tuple[Ids, Sequence[Ids]]  # a prompt, and completions of it


class Segment(NamedTuple):
    """Tokens that attend in one call; `prompt` is the segment of their prompt where that is another one."""

    start: int
    stop: int
    prompt: int | None = None

    @property
    def size(self) -> int:
        """Tokens of the segment."""
        return self.stop - self.start


class Packed:
    """The layout of a sequence, and what attention computes from it once for all layers.

    No dataclass and no tuple: FSDP gives a layer copies of those that hold tensors with a gradient, and what
    the layer adds to the cache of a copy is lost.

    Attributes:
        prompt_segments: for each set, the segment that holds its prompt; of `earlier` where that exists.
        earlier: the sequence that holds the prompts, where this one holds more completions of them.
        cache: layer -> keys and values of the sequence, `[1, G, N, D]` each, for completions that follow;
            None where none will.
    """

    def __init__(
        self,
        tokens: TokenLayout,
        segments: list[Segment],
        prompt_segments: list[int],
        device: torch.device,
        earlier: Packed | None = None,
        cache: dict[int, tuple[Tensor, Tensor]] | None = None,
    ) -> None:
        self.tokens, self.segments, self.prompt_segments = tokens, segments, prompt_segments
        self.device, self.earlier, self.cache = device, earlier, cache
        # Attention masks by window, made by the first layer that asks for them.
        self._biases: dict[tuple[int, int | None, torch.dtype], Tensor | None] = {}
        self._masks: dict[int | None, BlockMask] = {}

    def bias(self, segment: Segment, window: int | None, dtype: torch.dtype) -> Tensor | None:
        """Return what is added to a segment's attention scores, `[tokens, keys]`: 0 where seen, else -inf.

        The keys are those of the prompt's segment, if it is another one, and then the segment's own. None
        where the segment is plainly causal, because torch then needs no mask and takes a faster kernel.
        """
        if window is not None and window > self.tokens.position[: segment.stop].max():
            window = None  # hides nothing here, so that windowed and full layers share one mask
        # Once per pass and not per layer, because layers of one window and dtype share the mask.
        key = segment.start, window, dtype
        if key not in self._biases:
            self._biases[key] = self._bias(segment, window, dtype)
        return self._biases[key]

    def block_mask(self, window: int | None) -> BlockMask:
        """Return the same mask for flex_attention, `[N, M]` in blocks; blocks that nothing sees are skipped.

        The keys are those of `earlier`, if any, and then the sequence's own.
        """
        if window not in self._masks:
            keys = self.tokens if self.earlier is None else self.earlier.tokens.concatenate(self.tokens)
            self._masks[window] = block_mask(self.tokens.ranges(keys, window), len(keys.owner), self.device)
        return self._masks[window]

    def _bias(self, segment: Segment, window: int | None, dtype: torch.dtype) -> Tensor | None:
        tokens = keys = self.tokens.slice(segment.start, segment.stop)
        if segment.prompt is not None:
            sequence = self.earlier or self
            home = sequence.segments[segment.prompt]
            keys = sequence.tokens.slice(home.start, home.stop).concatenate(tokens)
        mask = tokens.sees(keys, window)  # [tokens, keys]
        if mask.shape[0] == mask.shape[1] and (mask == np.tri(len(mask), dtype=bool)).all():
            return None
        # -inf gives a hidden key a weight of exactly 0; a token sees itself, so that no row becomes NaN.
        bias = torch.zeros(mask.shape, dtype=dtype).masked_fill_(torch.from_numpy(~mask), float("-inf"))
        return bias.to(self.device)


def pack(
    sets: Sequence[PromptTexts],
    device: torch.device,
    *,
    turns: Sequence[Mask | None] | None = None,
    cache: bool = False,
) -> tuple[ModelInputs, Packed]:
    """Make one sequence of some sets; the tokens that it predicts are in the order of the sequence.

    Args:
        turns: of each set, which tokens of the prompt are predicted too, never the first one; None: none.
        cache: whether more completions of these sets will follow, with `pack_after`.
    """
    # Per text: prompts and completions in the order of the sequence, and which of them are prompts.
    texts = [ids for prompt, completions in sets for ids in (prompt, *completions)]
    counts = np.array([1 + len(completions) for _, completions in sets])  # [sets], texts
    names = np.arange(len(texts))  # [texts], a number of its own per completion
    names[np.cumsum(counts) - counts] = PROMPT
    prompts = np.array([len(prompt) for prompt, _ in sets])  # [sets], tokens
    # A completion begins at the position after its prompt, wherever it is in the sequence.
    offsets = np.where(names == PROMPT, 0, np.repeat(prompts, counts))
    tokens = _layout(texts, np.repeat(np.arange(len(sets)), counts), names, offsets)
    sizes = np.bincount(tokens.owner)
    lasts = np.cumsum(sizes) - sizes + prompts - 1  # [sets], the last token of each prompt
    targets = tokens.text != PROMPT  # [N]
    if turns is not None:
        masks = [np.zeros(n, np.bool_) if m is None else m for n, m in zip(prompts, turns, strict=True)]
        targets[~targets] = np.concatenate(masks)
    at = np.flatnonzero(targets)  # [T]
    # A token is predicted by the one before it, but the first of a completion by the last of its prompt,
    # which in the sequence is not next to it unless the completion is the set's first.
    first = tokens.position[at] == prompts[tokens.owner[at]]
    predictors = np.where(first, lasts[tokens.owner[at]], at - 1)
    segments, prompt_segments = _segments(sets)
    packed = Packed(tokens, segments, prompt_segments, device, cache={} if cache else None)
    return _inputs(texts, tokens, predictors, device), packed


def pack_after(earlier: Packed, completions: Sequence[Sequence[Ids]]) -> tuple[ModelInputs, Packed]:
    """Pack more completions of the sets of a cached sequence, any number per set.

    `ModelInputs.predictors` counts the sets first, because their states are known from the earlier call:
    state i is that of the last token of set i's prompt.
    """
    texts = [ids for set_texts in completions for ids in set_texts]
    owners = np.repeat(np.arange(len(completions)), [len(set_texts) for set_texts in completions])
    prompts = np.bincount(earlier.tokens.owner, earlier.tokens.text == PROMPT).astype(np.int64)
    # Numbers that the earlier sequence does not use, or these tokens would see its completions.
    names = np.arange(len(texts)) + earlier.tokens.text.max() + 1
    tokens = _layout(texts, owners, names, prompts[owners])
    # The first token of a completion is predicted by the earlier call; the others by the token before them,
    # whose states come after the `len(completions)` states of prompts.
    first = tokens.position == prompts[tokens.owner]
    predictors = np.where(first, tokens.owner, np.arange(len(first)) - 1 + len(completions))
    sharing = Counter(earlier.prompt_segments)  # how many sets have their prompt in a segment
    segments: list[Segment] = []
    stop = 0
    for owner, ids in zip(owners, texts, strict=True):
        home, start = earlier.prompt_segments[owner], stop
        stop += len(ids)
        if (
            sharing[home] > 1 and segments and segments[-1].prompt == home
        ):  # small sets share a segment here too
            start = segments.pop().start
        segments.append(Segment(start, stop, home))
    packed = Packed(tokens, segments, earlier.prompt_segments, earlier.device, earlier)
    return _inputs(texts, tokens, predictors, earlier.device), packed


def _layout(
    texts: Sequence[Ids],
    owners: npt.NDArray[np.int64],
    names: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int64],
) -> TokenLayout:
    """Spread what is known per text (its set, its number, its first position) over its tokens."""
    sizes = np.array([len(ids) for ids in texts])
    inside = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # [N], place in the text
    # int32, because `sees` makes [N, M] of them, which would take twice the memory in int64.
    owner, text, offset = (np.repeat(values.astype(np.int32), sizes) for values in (owners, names, offsets))
    return TokenLayout(owner, text, inside.astype(np.int32) + offset)


def _inputs(
    texts: Sequence[Ids], tokens: TokenLayout, predictors: npt.NDArray[np.int64], device: torch.device
) -> ModelInputs:
    arguments = {
        "input_ids": torch.from_numpy(np.concatenate(texts)).long()[None].to(device),  # [1, N]
        "position_ids": torch.from_numpy(tokens.position).long()[None].to(device),  # [1, N]
        # transformers' own cache would keep keys of every pass, `Packed.cache` only those needed later.
        "use_cache": False,
    }
    return ModelInputs(arguments, torch.from_numpy(predictors).to(device))


def _segments(sets: Sequence[PromptTexts]) -> tuple[list[Segment], list[int]]:
    """Return the segments of a sequence, and for each set the one that holds its prompt."""
    segments: list[Segment] = []
    prompt_segments: list[int] = []
    start = stop = 0  # of the open block of small sets
    for prompt, completions in sets:
        size = len(prompt) + sum(len(ids) for ids in completions)
        if start < stop and stop + size - start > BLOCK:  # the set does not fit into the open block
            segments.append(Segment(start, stop))
            start = stop
        prompt_segments.append(len(segments))
        if size <= BLOCK:
            stop += size
            continue
        # A large set: its prompt attends once, and each completion to the prompt and itself, so that no
        # product of two completions is made.
        stop += len(prompt)
        segments.append(Segment(start, stop))
        for ids in completions:
            segments.append(Segment(stop, stop + len(ids), prompt_segments[-1]))
            stop += len(ids)
        start = stop
    if start < stop:
        segments.append(Segment(start, stop))
    return segments, prompt_segments
