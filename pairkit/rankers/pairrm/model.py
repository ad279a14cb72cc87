"""PairRM (Jiang et al. 2023, arXiv:2306.02561): DeBERTa, and a head on the states of three of its tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import DebertaV2Config, DebertaV2Model

from pairkit.rankers.pairrm.deberta import encode


class PairRM(nn.Module):
    """The model of both checkpoint layouts, with their names of the weights.

    The state of <|source|> beside that of a candidate's prefix gives the candidate's scores, one a task; the
    logit of a pair is the mean difference of the two candidates': above 0 the first is the better one.
    """

    def __init__(self, config: DebertaV2Config) -> None:
        super().__init__()
        size = config.hidden_size
        self.pretrained_model = DebertaV2Model(config)
        # Two dropouts of training stand between these: the numbers in the names are llm-blender's.
        self.head_layer = nn.Sequential(
            nn.Identity(),
            nn.Linear(2 * size, size),
            nn.Tanh(),
            nn.Identity(),
            nn.Linear(size, getattr(config, "n_tasks", 1)),
        )

    def forward(self, ids: Tensor, mask: Tensor, prefixes: Tensor) -> Tensor:
        """Logits `[B]`, float32, of pairs `[B, L]`, padded on the right.

        `prefixes` `[B, 3]` are the positions of <|source|>, <|candidate1|> and <|candidate2|>.
        """
        source, first, second = encode(self.pretrained_model, ids, mask, prefixes).float().unbind(dim=1)
        left, right = (self.head_layer(torch.cat([source, one], dim=-1)) for one in (first, second))
        return (left - right).mean(dim=-1)  # type: ignore[no-any-return]

    def use(self, dtype: torch.dtype, device: str) -> PairRM:
        """Moves the model; the head, which subtracts near numbers, stays in float32."""
        self.to(device)
        self.pretrained_model.to(dtype)
        return self

    def materialize(self) -> None:
        """Makes what is no weight and so has no value yet in a model that was built without memory."""
        embeddings = self.pretrained_model.embeddings
        embeddings.position_ids = torch.arange(embeddings.position_ids.shape[-1])[None]
