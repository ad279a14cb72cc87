"""A draw inside the gradient pass.

Prompts and chosen completions pass once, with gradient; all others are scored on the prompts' keys and values
without one, and those that are drawn pass on them again. Next to a scoring pass of whole sets that saves the
prompts and the chosen completions, and the weights that the draw sees are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from pairkit.losses import Logps
from pairkit.training.distributed.sharding import passes
from pairkit.training.logprobs import head
from pairkit.training.logprobs.attention import packing, passing
from pairkit.training.logprobs.head import Hidden
from pairkit.training.logprobs.hidden import hidden_states
from pairkit.training.logprobs.packing import Packed, behind, pack
from pairkit.training.logprobs.selection import Scored, SetSelection, lengths, micro_batches
from pairkit.training.tokens.sets import Ids

Pick = Callable[
    [Logps], list[SetSelection]
]  # from log-probs of all columns, CPU, to the columns that are drawn


def score_drawn(
    model: nn.Module, every: Sequence[SetSelection], pick: Pick, budget: int, *, lead: bool
) -> tuple[list[SetSelection], Scored]:
    """The drawn columns, and their log-probs with gradient, as `forward.score` gives them.

    Args:
        model: one that packs.
        every: sets with all of their columns, two at least; column 0 is taken whatever is drawn.
        pick: draws; the first column of each set that it gives is column 0.
        budget: tokens that are scored at once.
        lead: whether the draw has to know the log-prob of column 0, which is 0 otherwise.
    """
    device = next(model.parameters()).device
    with packing(model):
        feed, packed = pack([(one.tokens.prompt, one.completions[:1]) for one in every], device, keep=True)
        with passing(packed):
            chosen = _plain(hidden_states(model, feed))
        firsts = [one.completions[0] for one in every]
        starts = np.cumsum([0, *(len(ids) for ids in firsts[:-1])])
        lasts = chosen.states[torch.from_numpy(starts).to(device)]  # of each prompt: they predict the first
        policy, scored = _scored(model, every, packed, lasts, budget)
        if lead:
            with torch.no_grad():
                policy.sum[:, 0] = _sums(chosen, firsts).cpu()
        work = pick(policy)
        drawn = [[one.tokens.columns[c].ids for c in one.columns[1:]] for one in work]
        feed, later = behind(packed, drawn)
        with passing(later):
            others = _plain(hidden_states(model, feed, lasts))
    states = Hidden(torch.cat([chosen.states, others.states]), chosen.head)
    each = _sums(states, [*firsts, *(ids for some in drawn for ids in some)])
    length, mask = lengths(work, device)
    columns = torch.zeros(mask.shape, dtype=torch.bool, device=device)
    columns[:, 0] = True
    sums = torch.zeros(mask.shape, device=device).masked_scatter(columns, each[: len(every)])
    sums = sums.masked_scatter(mask & ~columns, each[len(every) :])
    passed = len(packed.tokens.owner) + scored + len(later.tokens.owner)
    return work, Scored(Logps(sums, length, mask), None, None, passed)


@torch.no_grad()
def _scored(
    model: nn.Module, every: Sequence[SetSelection], packed: Packed, lasts: Tensor, budget: int
) -> tuple[Logps, int]:
    """The log-probs of all columns but the first, on the CPU, and the tokens that passed."""
    length, mask = lengths(every)
    sums = torch.zeros(mask.shape)
    rest = [SetSelection(one.tokens, one.columns[1:]) for one in every]
    passed = 0
    groups = micro_batches(rest, budget, shared=True)
    idle = passes(len(groups), model) - len(groups)
    for group in groups:
        taken = sorted(group)
        some = [rest[i].completions if i in group else [] for i in range(len(rest))]
        feed, later = behind(packed, some)
        with passing(later):
            states = _plain(hidden_states(model, feed, lasts))
        each = _sums(states, [ids for ids_of in some for ids in ids_of]).cpu()
        here = torch.zeros_like(mask)
        here[taken, 1:] = mask[taken, 1:]
        sums = sums.masked_scatter(here, each)
        passed += len(later.tokens.owner)
    for _ in range(idle):
        feed, later = behind(packed, [rest[0].completions[:1], *([] for _ in rest[1:])])
        with passing(later):
            hidden_states(model, feed, lasts)
    return Logps(sums, length, mask), passed


def _sums(states: Hidden, completions: Sequence[Ids]) -> Tensor:
    """[completions], the summed log-prob of each; their tokens' states stand one after another."""
    device = states.states.device
    targets = torch.from_numpy(np.concatenate(completions)).long().to(device)
    logp = head.token_statistics(("logp",), states, targets)["logp"]
    owner = torch.repeat_interleave(torch.tensor([len(ids) for ids in completions], device=device))
    return torch.zeros(len(completions), device=device).index_add(0, owner, logp)


def _plain(found: Hidden | None) -> Hidden:
    assert found is not None, "a model that packs has a plain head"
    return found
