"""What a model is called with, and completions as padded rows: each row a prompt and one completion.

Rows are the fallback for models that cannot attend over a packed sequence (see `packing`). They are padded on
the
right: with causal attention no token sees the padding after it, so the mask alone decides what is scored.

Shapes: R rows, L tokens of the longest row, T completion tokens of all rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pairkit.training.tokens.token_set import Ids, Mask


class ModelInputs(NamedTuple):
    """One call of a model, over padded rows or over a packed sequence.

    Attributes:
        arguments: keyword arguments of the call.
        predictors: `[T]` int64, for each predicted token (those of completions, and of the turns of prompts
            that are asked for) the state that predicts it: an index into the states that the output head
            receives, flattened over rows.
    """

    arguments: dict[str, Any]
    predictors: Tensor

    def at(self, places: npt.NDArray[np.int64] | None) -> ModelInputs:
        """Predict only the tokens at some places of `[T]`; None: all of them."""
        if places is None:
            return self
        index = torch.from_numpy(places).to(self.predictors.device)
        return self._replace(predictors=self.predictors[index])


def pad_rows(
    texts: Sequence[tuple[Ids, Ids]], device: torch.device, turns: Sequence[Mask | None] | None = None
) -> ModelInputs:
    """Make one row per (prompt, completion).

    The output head receives only the last positions (`logits_to_keep`): those before the first token that is
    predicted in any row predict prompt tokens, and nobody asks for their log-probs.

    Args:
        turns: of each row, which tokens of the prompt are predicted too, in front of those of the completion;
            never the first one. None: none.
    """
    width = max(len(prompt) + len(completion) for prompt, completion in texts)
    # Per row, the places of its predicted tokens.
    places = [
        np.concatenate([_true(mask), np.arange(len(prompt), len(prompt) + len(completion))])
        for (prompt, completion), mask in zip(texts, turns or [None] * len(texts), strict=True)
    ]
    # State t predicts token t + 1, so the first completion token is predicted by the last prompt token.
    first = min(int(min([len(p), *at[:1]])) for (p, _), at in zip(texts, places, strict=True)) - 1
    ids = np.zeros((len(texts), width), np.int64)  # [R, L]
    attention = np.zeros((len(texts), width), np.int64)  # [R, L], 1 on tokens and 0 on padding
    predictors = []
    for row, ((prompt, completion), at) in enumerate(zip(texts, places, strict=True)):
        start, end = len(prompt), len(prompt) + len(completion)
        ids[row, :start] = prompt
        ids[row, start:end] = completion
        attention[row, :end] = 1
        predictors.append(row * (width - first) + torch.from_numpy(at - 1) - first)
    arguments = {
        "input_ids": torch.from_numpy(ids).to(device),
        "attention_mask": torch.from_numpy(attention).to(device),
        "use_cache": False,
        "logits_to_keep": width - first,
    }
    return ModelInputs(arguments, torch.cat(predictors).to(device))


def _true(mask: Mask | None) -> npt.NDArray[np.int64]:
    """Return the places of a mask that are set, ascending, `[set]`."""
    return np.empty(0, np.int64) if mask is None else np.flatnonzero(mask)
