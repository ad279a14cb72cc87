"""PairRM (Jiang et al. 2023, arXiv:2306.02561): DeBERTa with a head on the states of three of its tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import DebertaV2Config, DebertaV2Model

from pairkit.rankers.pairrm.deberta import encode_tokens


class PairRM(nn.Module):
    """The model of both checkpoint layouts, with their weight names.

    The state of <|source|>, concatenated with that of a candidate's prefix, gives the candidate's scores, one
    per task. The logit of a pair is the mean difference of its candidates' scores: above 0, the first is
    better.
    """

    recompute = False  # whether backward computes each layer again, instead of keeping its activations

    def __init__(self, config: DebertaV2Config) -> None:
        super().__init__()
        size = config.hidden_size
        self.pretrained_model = DebertaV2Model(config)
        # The identities replace the dropouts of training, because the indexes in the weight names count them.
        self.head_layer = nn.Sequential(
            nn.Identity(),
            nn.Linear(2 * size, size),
            nn.Tanh(),
            nn.Identity(),
            nn.Linear(size, getattr(config, "n_tasks", 1)),
        )

    def forward(self, ids: Tensor, mask: Tensor, prefixes: Tensor) -> Tensor:
        """Compute the logits `[B]`, float32, of pairs `[B, L]`, padded on the right.

        `prefixes` `[B, 3]` are the positions of <|source|>, <|candidate1|> and <|candidate2|>.
        """
        states = encode_tokens(self.pretrained_model, ids, mask, prefixes, recompute=self.recompute)
        return self.compare(states)

    def compare(self, states: Tensor) -> Tensor:
        """Compute the logits `[B]`, float32, from the states `[B, 3, H]` of the prefixes."""
        source, first, second = states.float().unbind(dim=1)
        # In float32 in training too, because of the difference.
        with torch.autocast(states.device.type, enabled=False):
            # [B, tasks] each.
            left, right = (self.head_layer(torch.cat([source, side], dim=-1)) for side in (first, second))
        return (left - right).mean(dim=-1)  # type: ignore[no-any-return]

    def use(self, dtype: torch.dtype, device: str) -> PairRM:
        """Move and cast the model; the head stays in float32, because it subtracts nearly equal numbers."""
        self.to(device)
        self.pretrained_model.to(dtype)
        return self

    def materialize(self) -> None:
        """Give the buffers of a model that was built on the meta device their values."""
        embeddings = self.pretrained_model.embeddings
        embeddings.position_ids = torch.arange(embeddings.position_ids.shape[-1])[None]
