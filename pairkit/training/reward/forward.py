"""Where rewards are made: candidate sets in, `Logps` out whose `sum` is the reward of each completion.

The reward is the head's logit at the last token of prompt and completion. Sets pass packed, each prompt once,
exactly as for log-probs; what differs is which states are read, and that the head has one row.

Shapes: B sets, K completions of the set that has the most, C completions of all sets.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from pairkit.losses import Logps
from pairkit.training.logprobs.attention import current_sequence, using_packed_attention
from pairkit.training.logprobs.hidden import hidden_states
from pairkit.training.logprobs.packing import pack
from pairkit.training.logprobs.padding import ModelInputs, pad_rows
from pairkit.training.logprobs.probe import packs
from pairkit.training.logprobs.selection import Scored, SetSelection, lengths


def score_rewards(
    model: nn.Module,
    work: Sequence[SetSelection],
    *,
    want: frozenset[str] = frozenset(),
    live: nn.Module | None = None,
    shared: bool | None = None,
) -> Scored:
    """Compute the rewards of the selected completions, float32 `[B, K]`, with gradient.

    Takes and returns what `logprobs.forward.score` does, so that a step need not know which of them it calls.

    Args:
        want: nothing, because a reward is all that there is.
        live: None, because a reward has no reference.
        shared: whether a prompt passes once for all its completions; by default where the model can.

    Raises:
        ValueError: statistics, or a reference.
    """
    if want or live is not None:
        raise ValueError(f"a reward model has neither a reference nor statistics of tokens: {sorted(want)}")
    device = next(model.parameters()).device
    if packs(model) if shared is None else shared:
        rewards, token_count = _packed(model, work, device)
    else:
        rewards, token_count = _padded(model, work, device)
    length, mask = lengths(work, device)  # [B, K] each
    zeros = torch.zeros(mask.shape, device=device)
    # Row by row, which is the order of the completions.
    return Scored(Logps(zeros.masked_scatter(mask, rewards), length, mask), None, None, token_count)


def _packed(model: nn.Module, work: Sequence[SetSelection], device: torch.device) -> tuple[Tensor, int]:
    """Return the rewards of one packed sequence, `[C]`, and how many tokens passed."""
    sets = [(item.tokens.prompt, item.completions) for item in work]
    inputs, packed = pack(sets, device)
    texts = [(ids, place > 0) for prompt, some in sets for place, ids in enumerate([prompt, *some])]
    ends = np.cumsum([len(ids) for ids, _ in texts]) - 1
    ends = ends[[is_completion for _, is_completion in texts]]  # [C], last tokens of completions
    inputs = inputs._replace(predictors=torch.from_numpy(ends).to(device))
    with using_packed_attention(model), current_sequence(packed):
        rewards = _rewards(model, inputs)
    return rewards, int(inputs.arguments["input_ids"].numel())


def _padded(model: nn.Module, work: Sequence[SetSelection], device: torch.device) -> tuple[Tensor, int]:
    """Return the rewards of one row per completion, `[C]`, and how many tokens passed."""
    inputs = pad_rows([(item.tokens.prompt, ids) for item in work for ids in item.completions], device)
    counts = np.array([len(ids) for item in work for ids in item.completions])
    # The state of a row's last token is next to the one that predicts it.
    lasts = inputs.predictors[torch.from_numpy(np.cumsum(counts) - 1).to(device)] + 1
    rewards = _rewards(model, inputs._replace(predictors=lasts))
    return rewards, int(inputs.arguments["attention_mask"].sum())


def _rewards(model: nn.Module, inputs: ModelInputs) -> Tensor:
    """Read the rewards at `inputs.predictors`, float32 `[C]`."""
    hidden = hidden_states(model, inputs)
    assert hidden is not None, "a reward model that was loaded has a plain head"
    # In float32 whatever the model's dtype: a loss takes differences of rewards.
    return hidden.head.product(hidden.states)[:, 0]
