"""Where log-probs are made: candidate sets in, `Logps` out.

Everything above this module speaks of sets and completions. Here sets are packed into one sequence, each
prompt once; for a model that cannot attend over such a sequence, each completion becomes a row of a padded
batch.

Shapes: B sets, K completions of the set that has the most, T scored tokens of all sets, V vocabulary.
    Tokens are joined in the order of sets and completions, so that sums over `[T]` give `[B, K]` without a
    loop. Those of the assistant's earlier turns come before the completions of their set (see `turns`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from pairkit.losses import Logps
from pairkit.training.distributed.sharding import collective_pass_count, reshard
from pairkit.training.logprobs import head
from pairkit.training.logprobs.probe import packs
from pairkit.training.logprobs.selection import (
    IDLE,
    PASS_STATISTICS,
    Scored,
    SetSelection,
    lengths,
    micro_batches,
    sum_tokens,
)
from pairkit.training.logprobs.statistics import statistics_of_tokens
from pairkit.training.logprobs.turns import TURNS, has_turns, turn_tokens


def score(
    model: nn.Module,
    work: Sequence[SetSelection],
    *,
    want: frozenset[str] = frozenset(),
    live: nn.Module | None = None,
    shared: bool | None = None,
) -> Scored:
    """Compute the log-probs of the selected completions, float32 `[B, K]`, nats, with gradient.

    Entry j of a row belongs to `work[i].columns[j]`; sets with fewer completions are masked. "head_sum" sums
    over the scored tokens that a completion and the first selected one of its set have in common in number: a
    prefix of each. Tokens that are not scored (`Column.scored`) pass and are attended to, and count nowhere.
    "turns_sum" sums over the assistant's earlier turns in a set's prompt, the same for each completion.

    Args:
        want: what is computed besides sums, of `PASS_STATISTICS` and `TURNS`.
        live: an online reference model on the same device, run without gradient next to the policy. Where it
            is `model` itself nothing runs twice: both have the same log-probs to the last bit.
        shared: whether a prompt passes once for all its completions; by default where the models can.

    Raises:
        ValueError: an unknown statistic, or "token_kl" without an online reference or with one that has
            another
            vocabulary.
    """
    statistics = PASS_STATISTICS | {TURNS}
    if want - statistics:
        raise ValueError(
            f"unknown statistics {sorted(want - statistics)}; expected some of {sorted(statistics)}"
        )
    # A KL is over the whole vocabulary, so that stored sums of the reference cannot give it.
    if "token_kl" in want and live is None:
        raise ValueError("token_kl needs an online reference model")
    if live is model:
        return against_itself(score(model, work, want=want - {"token_kl"}, shared=shared), want)
    names = head.statistic_names(want, live=live is not None)
    turns = TURNS in want and has_turns(work)
    per_token, token_count = statistics_of_tokens(
        model, live, work, names, packs(model, live) if shared is None else shared, turns
    )
    earlier = None
    if turns:
        per_token, earlier = _without_turns(per_token, work)
    length, mask = lengths(work, per_token["logp"].device)  # [B, K] each
    zeros = torch.zeros(mask.shape, device=mask.device)  # [B, K], float32

    def sums(name: str) -> Tensor:  # [B, K]
        # Row by row, as the tokens are joined.
        return zeros.masked_scatter(mask, sum_tokens(per_token[name], length[mask]))

    def means(name: str) -> Tensor | None:  # [B, K], per token
        # Masked entries have length 0 and sum 0: they stay 0 instead of NaN, which a mask could not undo.
        return sums(name) / length.clamp(min=1) if name in want else None

    def prefixes(name: str) -> Mapping[str, Tensor]:  # [B, K] each
        if "head_sum" not in want:
            return {}
        # Not by differences of one running sum, which would lose the last digits of a short prefix.
        tokens = per_token[name].double()  # as in `sum_tokens`
        parts = (torch.stack([tokens[at].sum() for at in slices]).float() for slices in _prefixes(work))
        return {
            key: zeros.masked_scatter(mask, values)
            for key, values in zip(("head_sum", "chosen_head"), parts, strict=True)
        }

    turns_sum = None
    if TURNS in want:
        turns_sum = zeros if earlier is None else earlier[:, None] * mask

    policy = Logps(
        sums("logp"),
        length,
        mask,
        token_kl=sums("token_kl") if "token_kl" in want else None,
        alignment=means("alignment"),
        turns_sum=turns_sum,
        **prefixes("logp"),
    )
    reference = None
    if live is not None:
        # The same length and mask, because a loss subtracts the two entry by entry.
        reference = Logps(sums("reference"), length, mask, **prefixes("reference"))
    return Scored(policy, reference, means("entropy"), token_count)


def against_itself(scores: Scored, want: frozenset[str]) -> Scored:
    """Take the policy for its own reference.

    The log-probs are the same and the divergence is 0, a minimum, so that it has no gradient.
    """
    policy = scores.policy
    divergence = torch.zeros_like(policy.sum) if "token_kl" in want else None
    reference = replace(policy.detach(), alignment=None, turns_sum=None)
    return scores._replace(policy=replace(policy, token_kl=divergence), reference=reference)


def score_all(
    model: nn.Module,
    work: Sequence[SetSelection],
    budget: int,
    *,
    want: frozenset[str] = frozenset(),
    live: nn.Module | None = None,
    through: Callable[..., Scored] = score,
    packing: Callable[..., bool] = packs,
) -> Iterator[tuple[list[tuple[int, tuple[int, ...]]], Scored]]:
    """Score any number of sets without gradient; a set that exceeds the budget is scored in parts.

    Yields, for each row of the log-probs, its position in `work` and which completions of that set it holds.

    Args:
        through: the pass over some sets, called as `score` is.
        packing: whether that shares prompts, called as `packs` is.
    """
    shared = packing(model, live)
    keep_first = "head_sum" in want  # every part needs the first completion, which decides the prefixes
    # A micro-batch never divides a set, so too large ones are divided before.
    parts = [(i, part) for i, item in enumerate(work) for part in _parts(item, budget, shared, keep_first)]
    groups = micro_batches([part for _, part in parts], budget, shared=shared)
    # Without gradient layers are gathered too, so that all processes pass equally often here as well.
    idle = collective_pass_count(len(groups), model, live) - len(groups)
    for group in groups:
        selection = [parts[i] for i in group]
        # Not around the yield, because no_grad would then hold in the caller too, between two rows.
        with torch.no_grad():
            scores = through(model, [part for _, part in selection], want=want, live=live)
        yield [(i, part.columns) for i, part in selection], scores
    for _ in range(idle):  # other processes still gather layers, and need this one for it
        with torch.no_grad():
            through(model, [IDLE], want=want, live=live)
    reshard(model, live)  # no backward comes, which would do it


def _parts(item: SetSelection, budget: int, shared: bool, keep_first: bool) -> Iterator[SetSelection]:
    """Divide a set into parts within the budget; without gradient no loss compares its completions."""
    first = item.columns[:1] if keep_first else ()
    part = SetSelection(item.tokens, ())
    for completion in item.columns:
        larger = SetSelection(item.tokens, (*part.columns, completion))
        cost = larger.size if shared else larger.width * len(larger.columns)  # tokens, padding included
        # Not while the part has only the repeated first completion: a pass of it would score nothing new.
        if cost > budget and set(part.columns) - set(first):
            yield part
            larger = SetSelection(item.tokens, (*first, completion))
        part = larger
    yield part


def _prefixes(work: Sequence[SetSelection]) -> tuple[list[slice], list[slice]]:
    """Return, per completion, the slices of `[T]` that are its prefix and that of its set's first completion.

    Both have as many tokens as the one of the two completions that has fewer scored ones.
    """
    own, chosen = [], []
    start = 0
    for item in work:
        counts = [column.length for column in item.picked]
        first_start = start
        for size in counts:
            count = min(counts[0], size)
            own.append(slice(start, start + count))
            chosen.append(slice(first_start, first_start + count))
            start += size
    return own, chosen


def _without_turns(
    per_token: Mapping[str, Tensor], work: Sequence[SetSelection]
) -> tuple[dict[str, Tensor], Tensor]:
    """Divide `[T]` into what belongs to completions, and the summed log-probs of each set's turns, `[B]`."""
    logp = per_token["logp"]
    sizes = [sum(column.length for column in item.picked) for item in work]
    of_turns = torch.from_numpy(turn_tokens(work, sizes)).to(logp.device)
    counts = torch.tensor([item.tokens.turn_count for item in work], device=logp.device)
    return {name: values[~of_turns] for name, values in per_token.items()}, sum_tokens(logp[of_turns], counts)
