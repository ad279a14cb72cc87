"""Sampling negatives inside the gradient pass.

Prompts and chosen completions pass once, with gradient; all other completions are scored on the prompts'
cached keys and values without gradient, and the sampled ones pass on them again, with gradient. Compared with
a scoring pass of whole sets this saves the prompts and the chosen completions, and the weights that the
sampling depends on are the same.

Shapes: B sets, K completions of the set that has the most, T tokens of completions, scored or not, and of the
    turns of prompts that count, E hidden width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from pairkit.losses import Logps
from pairkit.training.distributed.sharding import collective_pass_count
from pairkit.training.logprobs import head
from pairkit.training.logprobs.attention import current_sequence, using_packed_attention
from pairkit.training.logprobs.head import Hidden
from pairkit.training.logprobs.hidden import hidden_states
from pairkit.training.logprobs.packing import Packed, pack, pack_after
from pairkit.training.logprobs.selection import (
    Scored,
    SetSelection,
    lengths,
    micro_batches,
    scored_ids,
    scored_places,
    sum_tokens,
)
from pairkit.training.logprobs.turns import has_turns, turn_tokens, turns_of
from pairkit.training.tokens.token_set import Column

Pick = Callable[
    [Logps], list[SetSelection]
]  # from log-probs of all completions, on the CPU, to the sampled ones


def score_drawn(
    model: nn.Module, every: Sequence[SetSelection], pick: Pick, budget: int, *, lead: bool
) -> tuple[list[SetSelection], Scored]:
    """Sample completions and return them with their log-probs, with gradient, as `forward.score` does.

    Args:
        model: one that packs.
        every: sets with all of their completions, two at least; completion 0 is always selected.
        pick: samples; the first completion of each set that it returns is completion 0.
        budget: tokens that are scored at once.
        lead: whether the sampling has to know the log-prob of completion 0, which is 0 otherwise.
    """
    device = next(model.parameters()).device
    # Around all passes, because one backward goes through both that have a gradient.
    with using_packed_attention(model):
        sets = [(item.tokens.prompt, item.completions[:1]) for item in every]
        inputs, packed = pack(sets, device, turns=[item.tokens.turns for item in every], cache=True)
        with current_sequence(packed):
            chosen = _require(hidden_states(model, inputs))
        turns = chosen.states[:0]  # [tokens of turns, E]
        if has_turns(every):
            of_turns = turn_tokens(every, [len(item.picked[0].ids) for item in every])
            turns, chosen = _divided(chosen, torch.from_numpy(of_turns).to(device))
        firsts = [item.picked[0] for item in every]
        # The chosen completions' first tokens are at these places of [T], as are their predictors.
        starts = np.cumsum([0, *(len(column.ids) for column in firsts[:-1])])
        # [B, E], the states of each prompt's last token: they predict the first token of any completion.
        lasts = chosen.states[torch.from_numpy(starts).to(device)]
        # The same weights score and are trained: no step lies between the sampling and its gradient.
        policy, scored_tokens = _score_rest(model, every, packed, lasts, budget)
        if lead:
            with torch.no_grad():
                policy.sum[:, 0] = _sums(chosen, firsts).cpu()
        work = pick(policy)
        samples = [item.picked[1:] for item in work]
        inputs, later = pack_after(packed, [[column.ids for column in texts] for texts in samples])
        # On the same cached keys, but now with gradient: through them the prompts get the gradient that the
        # sampled completions give them, as if all had passed together.
        with current_sequence(later):
            others = _require(hidden_states(model, inputs, lasts))
    # One product with the head for all tokens, turns first and then chosen completions: [T, E].
    states = Hidden(torch.cat([turns, chosen.states, others.states]), chosen.head)
    before = [turns_of(item.tokens) for item in every]
    sums = _sums(states, [*before, *firsts, *(column for texts in samples for column in texts)])
    earlier, per_completion = sums[: len(every)], sums[len(every) :]  # [B], [completions]
    length, mask = lengths(work, device)
    first = torch.zeros(mask.shape, dtype=torch.bool, device=device)  # [B, 1 + negatives]
    first[:, 0] = True
    # masked_scatter fills row by row, which is the order of the sets in both parts.
    sums = torch.zeros(mask.shape, device=device).masked_scatter(first, per_completion[: len(every)])
    sums = sums.masked_scatter(mask & ~first, per_completion[len(every) :])
    token_count = len(packed.tokens.owner) + scored_tokens + len(later.tokens.owner)
    turns_sum = earlier[:, None] * mask if has_turns(every) else None
    return work, Scored(Logps(sums, length, mask, turns_sum=turns_sum), None, None, token_count)


@torch.no_grad()
def _score_rest(
    model: nn.Module, every: Sequence[SetSelection], packed: Packed, lasts: Tensor, budget: int
) -> tuple[Logps, int]:
    """Score all completions but the first, `[B, K]` on the CPU; count the tokens that pass."""
    length, mask = lengths(every)  # [B, K] each
    sums = torch.zeros(mask.shape)
    rest = [SetSelection(item.tokens, item.columns[1:]) for item in every]
    token_count = 0
    groups = micro_batches(rest, budget, shared=True)
    # Sharded layers are gathered by all processes together, so all make as many passes as the one with most.
    idle = collective_pass_count(len(groups), model) - len(groups)
    for group in groups:
        rows = sorted(group)  # as the sequence has them, and masked_scatter below: in the order of the sets
        # An entry for every set, because `pack_after` knows a set by its place.
        texts = [rest[i].picked if i in group else [] for i in range(len(rest))]
        inputs, later = pack_after(packed, [[column.ids for column in set_texts] for set_texts in texts])
        with current_sequence(later):
            states = _require(hidden_states(model, inputs, lasts))
        per_completion = _sums(states, [column for set_texts in texts for column in set_texts]).cpu()
        here = torch.zeros_like(mask)
        here[rows, 1:] = mask[rows, 1:]
        sums = sums.masked_scatter(here, per_completion)
        token_count += len(later.tokens.owner)
    for _ in range(idle):
        # Any completion will do; the result is dropped.
        inputs, later = pack_after(packed, [rest[0].completions[:1], *([] for _ in rest[1:])])
        with current_sequence(later):
            hidden_states(model, inputs, lasts)
    return Logps(sums, length, mask), token_count


def _sums(states: Hidden, completions: Sequence[Column]) -> Tensor:
    """Return the summed log-prob of each completion, nats, float32 `[completions]`, from all their tokens."""
    device = states.states.device
    if (places := scored_places(completions)) is not None:
        states = states._replace(states=states.states[torch.from_numpy(places).to(device)])
    logp = head.token_statistics(("logp",), states, scored_ids(completions, device))["logp"]
    return sum_tokens(logp, torch.tensor([column.length for column in completions], device=device))


def _divided(hidden: Hidden, where: Tensor) -> tuple[Tensor, Hidden]:
    """Divide states by a bool mask `[T]`: those in it, `[n, E]`, and the others with their head."""
    return hidden.states[where], hidden._replace(states=hidden.states[~where])


def _require(hidden: Hidden | None) -> Hidden:
    assert hidden is not None, "a model that packs has a plain head"
    return hidden
