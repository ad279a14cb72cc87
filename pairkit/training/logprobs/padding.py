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

from pairkit.training.tokens.sets import Ids


class ModelInputs(NamedTuple):
    """One call of a model, over padded rows or over a packed sequence.

    Attributes:
        arguments: keyword arguments of the call.
        predictors: `[T]` int64, for each completion token the state that predicts it: an index into the
            states that the output head receives, flattened over rows.
    """

    arguments: dict[str, Any]
    predictors: Tensor

    def at(self, places: npt.NDArray[np.int64] | None) -> ModelInputs:
        """Predict some of the completion tokens only; None: all of them."""
        if places is None:
            return self
        index = torch.from_numpy(places).to(self.predictors.device)
        return self._replace(predictors=self.predictors[index])


def pad_rows(texts: Sequence[tuple[Ids, Ids]], device: torch.device) -> ModelInputs:
    """Make one row per (prompt, completion).

    The output head receives only the last positions (`logits_to_keep`): those before the end of the shortest
    prompt predict prompt tokens in every row, and nobody asks for their log-probs.
    """
    width = max(len(prompt) + len(completion) for prompt, completion in texts)
    # State t predicts token t + 1, so the first completion token is predicted by the last prompt token.
    first = min(len(prompt) for prompt, _ in texts) - 1
    ids = np.zeros((len(texts), width), np.int64)  # [R, L]
    attention = np.zeros((len(texts), width), np.int64)  # [R, L], 1 on tokens and 0 on padding
    predictors = []
    for row, (prompt, completion) in enumerate(texts):
        start, end = len(prompt), len(prompt) + len(completion)
        ids[row, :start] = prompt
        ids[row, start:end] = completion
        attention[row, :end] = 1
        predictors.append(row * (width - first) + torch.arange(start - 1, end - 1) - first)
    arguments = {
        "input_ids": torch.from_numpy(ids).to(device),
        "attention_mask": torch.from_numpy(attention).to(device),
        "use_cache": False,
        "logits_to_keep": width - first,
    }
    return ModelInputs(arguments, torch.cat(predictors).to(device))
