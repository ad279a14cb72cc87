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
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pairkit.errors import ModelError
from pairkit.losses import Logps
from pairkit.training.distributed.sharding import collective_pass_count, reshard, sharded
from pairkit.training.logprobs import head
from pairkit.training.logprobs.attention import current_sequence, using_packed_attention
from pairkit.training.logprobs.hidden import head_of, hidden_states, last_positions
from pairkit.training.logprobs.packing import pack
from pairkit.training.logprobs.padding import ModelInputs, pad_rows
from pairkit.training.logprobs.probe import packs
from pairkit.training.logprobs.selection import (
    IDLE,
    PASS_STATISTICS,
    Scored,
    SetSelection,
    lengths,
    micro_batches,
    scored_ids,
    scored_places,
    sum_tokens,
)
from pairkit.training.logprobs.turns import TURNS, has_turns, turn_tokens, turns_of, with_turns
from pairkit.training.tokens.sets import Column, TokenSet


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
    known = PASS_STATISTICS | {TURNS}
    if want - known:
        raise ValueError(f"unknown statistics {sorted(want - known)}; expected some of {sorted(known)}")
    # A KL is over the whole vocabulary, so that stored sums of the reference cannot give it.
    if "token_kl" in want and live is None:
        raise ValueError("token_kl needs an online reference model")
    if live is model:
        return against_itself(score(model, work, want=want - {"token_kl"}, shared=shared), want)
    names = head.statistic_names(want, live=live is not None)
    turns = TURNS in want and has_turns(work)
    per_token, passed = _token_statistics(
        model, live, work, names, packs(model, live) if shared is None else shared, turns
    )
    earlier = None
    if turns:
        per_token, earlier = _without_turns(per_token, work)
    length, mask = lengths(work, per_token["logp"].device)  # [B, K] each
    zeros = torch.zeros(mask.shape, device=mask.device)  # [B, K], float32

    def sums(name: str) -> Tensor:
        # Row by row, as the tokens are joined.
        return zeros.masked_scatter(mask, sum_tokens(per_token[name], length[mask]))

    def means(name: str) -> Tensor | None:
        # Masked entries have length 0 and sum 0: they stay 0 instead of NaN, which a mask could not undo.
        return sums(name) / length.clamp(min=1) if name in want else None

    def prefixes(name: str) -> Mapping[str, Tensor]:
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
    return Scored(policy, reference, means("entropy"), passed)


def against_itself(scored: Scored, want: frozenset[str]) -> Scored:
    """Take the policy for its own reference.

    The log-probs are the same and the divergence is 0, a minimum, so that it has no gradient.
    """
    policy = scored.policy
    divergence = torch.zeros_like(policy.sum) if "token_kl" in want else None
    reference = replace(policy.detach(), alignment=None, turns_sum=None)
    return scored._replace(policy=replace(policy, token_kl=divergence), reference=reference)


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
        selected = [parts[i] for i in group]
        # Not around the yield, because no_grad would then hold in the caller too, between two rows.
        with torch.no_grad():
            scored = through(model, [part for _, part in selected], want=want, live=live)
        yield [(i, part.columns) for i, part in selected], scored
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


class _Row(NamedTuple):
    """A prompt with one completion after it; `turns`: whether the turns of the prompt count here."""

    tokens: TokenSet
    column: Column
    turns: bool

    @property
    def texts(self) -> list[Column]:
        """What is scored, in order."""
        return [turns_of(self.tokens), self.column] if self.turns else [self.column]


def _token_statistics(
    model: nn.Module,
    live: nn.Module | None,
    work: Sequence[SetSelection],
    names: tuple[str, ...],
    shared: bool,
    turns: bool,
) -> tuple[dict[str, Tensor], int]:
    """Compute statistics of each scored token, `[T]` by name; count the tokens that pass.

    Args:
        turns: whether the assistant's earlier turns count, before the completions of their set.
    """
    device = next(model.parameters()).device
    texts = with_turns(work) if turns else [column for item in work for column in item.picked]
    targets, places = scored_ids(texts, device), scored_places(texts)  # [T] each
    if shared:
        masks = [item.tokens.turns for item in work] if turns else None
        inputs, packed = pack([(item.tokens.prompt, item.completions) for item in work], device, turns=masks)
        inputs = inputs.at(places)
        # One sequence for both models, because their states are compared token by token.
        with using_packed_attention(model, live), current_sequence(packed):
            statistics = _statistics_from_states(model, live, inputs, targets, names)
        assert statistics is not None, "a model that packs has a plain head"
        return statistics, int(inputs.arguments["input_ids"].numel())
    # In the first row of a set, because its prompt is the same in all of them.
    rows = [
        _Row(item.tokens, column, turns and place == 0)
        for item in work
        for place, column in enumerate(item.picked)
    ]
    inputs = _padded(rows, device)
    passed = int(inputs.arguments["attention_mask"].sum())  # tokens; a rate must not count padding
    statistics = _statistics_from_states(model, live, inputs, targets, names)
    # The models' own logits are the last resort, because [rows, positions, V] of them are made.
    return statistics or _statistics_from_own_logits(model, live, rows, names), passed


def _statistics_from_states(
    model: nn.Module, live: nn.Module | None, inputs: ModelInputs, targets: Tensor, names: tuple[str, ...]
) -> dict[str, Tensor] | None:
    """Compute statistics from the states that the output heads would get; None where a head is not plain."""
    reference = None
    # The reference first: where it cannot do this, the policy's pass with its graph would be for nothing.
    if live is not None:
        with torch.no_grad():
            reference = hidden_states(live, inputs)
        if reference is None:
            return None
    policy = hidden_states(model, inputs)
    return None if policy is None else head.token_statistics(names, policy, targets, reference)


def _statistics_from_own_logits(
    model: nn.Module, live: nn.Module | None, texts: Sequence[_Row], names: tuple[str, ...]
) -> dict[str, Tensor]:
    """Compute statistics from the logits that the models themselves return, a few rows at a time.

    Each part runs under an activation checkpoint, so that the logits of one part exist at a time in backward
    too.
    """
    if sharded(model, live):  # the number of passes depends on the rows, which differ between processes
        raise ModelError(
            "a model whose logits are not those of a plain output head cannot be sharded: set shard=false"
        )
    device = next(model.parameters()).device

    def part_statistics(inputs: ModelInputs, targets: Tensor) -> Tensor:
        def logits(network: nn.Module) -> Tensor:
            # [tokens, V], float32 before the softmax, because a loss subtracts sums of its logarithms.
            output = last_positions(network(**inputs.arguments).logits, inputs)
            return output.flatten(0, 1)[inputs.predictors].float()

        reference = None
        if live is not None:
            with torch.no_grad():
                reference = logits(live)
        return head.statistics_from_logits(names, logits(model), targets, reference)

    # Without a weight the size of the vocabulary is unknown, and one row at a time is safe.
    weight = getattr(head_of(model)[1], "weight", None)
    # As many rows as have `CHUNK_LOGITS` logits, which the other path holds at a time too.
    positions = _padded(texts, device).arguments["logits_to_keep"]
    step = 1 if weight is None else max(1, head.CHUNK_LOGITS // (positions * len(weight)))  # rows
    parts = [texts[at : at + step] for at in range(0, len(texts), step)]
    rows = [
        checkpoint(
            part_statistics,
            _padded(part, device),
            scored_ids([text for row in part for text in row.texts], device),
            use_reentrant=False,  # the other kind needs an input with a gradient, and there is none
            preserve_rng_state=False,  # dropout is off, so that nothing random is repeated
        )
        for part in parts
    ]
    return head.rows_by_name(names, torch.cat(rows, dim=1))  # [S, T]


def _padded(rows: Sequence[_Row], device: torch.device) -> ModelInputs:
    """Make padded rows, and predict the scored tokens."""
    turns = [row.tokens.turns if row.turns else None for row in rows]
    inputs = pad_rows([(row.tokens.prompt, row.column.ids) for row in rows], device, turns)
    return inputs.at(scored_places([text for row in rows for text in row.texts]))
