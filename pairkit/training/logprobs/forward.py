"""Where log-probs are made: candidate sets in, `Logps` out.

Everything above this module speaks of sets and columns. Sets are packed into one sequence, each prompt once;
a model that cannot attend over such a sequence gets each completion as a row of a padded batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pairkit.errors import ModelError
from pairkit.losses import Logps
from pairkit.training.distributed.sharding import passes, reshard, sharded
from pairkit.training.logprobs import head
from pairkit.training.logprobs.attention import packing, passing
from pairkit.training.logprobs.hidden import head_of, hidden_states
from pairkit.training.logprobs.packing import pack
from pairkit.training.logprobs.padding import Feed, padded
from pairkit.training.logprobs.probe import packs
from pairkit.training.logprobs.selection import IDLE, Scored, SetSelection, lengths, micro_batches
from pairkit.training.tokens.sets import Ids

WANT = frozenset({"token_kl", "alignment", "head_sum", "entropy"})  # what a pass can give besides sums


def score(
    model: nn.Module,
    work: Sequence[SetSelection],
    *,
    want: frozenset[str] = frozenset(),
    live: nn.Module | None = None,
    shared: bool | None = None,
) -> Scored:
    """The log-probs of the wanted columns, float32, with gradient.

    Column j of the result is `work[i].columns[j]`; sets with fewer columns are masked. The heads of
    "head_sum" are those of the pairs of the first wanted column and each other one.

    Args:
        want: what is computed besides sums, of `WANT`.
        live: a reference model on the same device, passed without gradient beside the policy.
        shared: whether a prompt passes once for all its completions; by default where the models can.

    Raises:
        ValueError: something unknown is wanted, or "token_kl" without a live reference or with one of another
            vocabulary.
    """
    if want - WANT:
        raise ValueError(f"unknown statistics {sorted(want - WANT)}; there are {sorted(WANT)}")
    if "token_kl" in want and live is None:
        raise ValueError("token_kl needs a live reference model")
    names = head.statistics_of(want, live=live is not None)
    found, passed = _tokens(model, live, work, names, packs(model, live) if shared is None else shared)
    length, mask = lengths(work, found["logp"].device)
    owner = torch.repeat_interleave(length[mask])
    zeros = torch.zeros(mask.shape, device=mask.device)

    def sums(name: str) -> Tensor:
        each = torch.zeros(int(mask.sum()), device=mask.device).index_add(0, owner, found[name])
        return zeros.masked_scatter(mask, each)

    def means(name: str) -> Tensor | None:
        return sums(name) / length.clamp(min=1) if name in want else None

    def heads(name: str) -> Mapping[str, Tensor]:
        if "head_sum" not in want:
            return {}
        parts = (torch.stack([found[name][at].sum() for at in each]) for each in _heads(work))
        return {
            key: zeros.masked_scatter(mask, values)
            for key, values in zip(("head_sum", "chosen_head"), parts, strict=True)
        }

    policy = Logps(
        sums("logp"),
        length,
        mask,
        token_kl=sums("token_kl") if "token_kl" in want else None,
        alignment=means("alignment"),
        **heads("logp"),
    )
    reference = None
    if live is not None:
        reference = Logps(sums("reference"), length, mask, **heads("reference"))
    return Scored(policy, reference, means("entropy"), passed)


def score_all(
    model: nn.Module,
    work: Sequence[SetSelection],
    budget: int,
    *,
    want: frozenset[str] = frozenset(),
    live: nn.Module | None = None,
) -> Iterator[tuple[list[tuple[int, tuple[int, ...]]], Scored]]:
    """Scores any number of sets without gradient, the columns of one that exceeds the budget in parts.

    Yields, for each row of the log-probs, its position in `work` and which columns of that set it holds.
    """
    shared = packs(model, live)
    lead = "head_sum" in want  # every part needs the first column
    parts = [(i, part) for i, item in enumerate(work) for part in _parts(item, budget, shared, lead)]
    groups = micro_batches([part for _, part in parts], budget, shared=shared)
    idle = passes(len(groups), model, live) - len(groups)
    for group in groups:
        taken = [parts[i] for i in group]
        with torch.no_grad():
            scored = score(model, [part for _, part in taken], want=want, live=live)
        yield [(i, part.columns) for i, part in taken], scored
    for _ in range(idle):
        with torch.no_grad():
            score(model, [IDLE], want=want, live=live)
    reshard(model, live)


def _parts(item: SetSelection, budget: int, shared: bool, lead: bool) -> Iterator[SetSelection]:
    first = item.columns[:1] if lead else ()
    part = SetSelection(item.tokens, ())
    for column in item.columns:
        more = SetSelection(item.tokens, (*part.columns, column))
        cost = more.size if shared else more.width * len(more.columns)
        if cost > budget and set(part.columns) - set(first):
            yield part
            more = SetSelection(item.tokens, (*first, column))
        part = more
    yield part


def _heads(work: Sequence[SetSelection]) -> tuple[list[slice], list[slice]]:
    """Of each column, which tokens are the head of it and of the first one, in the pair that they make."""
    own, chosen = [], []
    start = 0
    for item in work:
        leading, first = start, len(item.completions[0])
        for ids in item.completions:
            count = min(first, len(ids))
            own.append(slice(start, start + count))
            chosen.append(slice(leading, leading + count))
            start += len(ids)
    return own, chosen


def _tokens(
    model: nn.Module,
    live: nn.Module | None,
    work: Sequence[SetSelection],
    names: tuple[str, ...],
    shared: bool,
) -> tuple[dict[str, Tensor], int]:
    """What is computed of each token of the wanted completions, [tokens] by name; and how many passed."""
    device = next(model.parameters()).device
    targets = _joined([ids for item in work for ids in item.completions], device)
    if shared:
        feed, packed = pack([(item.tokens.prompt, item.completions) for item in work], device)
        with packing(model, live), passing(packed):
            found = _of_states(model, live, feed, targets, names)
        assert found is not None, "a model that packs has a plain head"
        return found, int(feed.inputs["input_ids"].numel())
    texts = [(item.tokens.prompt, ids) for item in work for ids in item.completions]
    feed = padded(texts, device)
    found = _of_states(model, live, feed, targets, names)
    return found or _of_models(model, live, texts, names), int(feed.inputs["attention_mask"].sum())


def _of_states(
    model: nn.Module, live: nn.Module | None, feed: Feed, targets: Tensor, names: tuple[str, ...]
) -> dict[str, Tensor] | None:
    """From the states that the models' output heads would get; None where a head is not a plain one."""
    reference = None
    if live is not None:
        with torch.no_grad():
            reference = hidden_states(live, feed)
        if reference is None:
            return None
    policy = hidden_states(model, feed)
    return None if policy is None else head.token_statistics(names, policy, targets, reference)


def _of_models(
    model: nn.Module, live: nn.Module | None, texts: Sequence[tuple[Ids, Ids]], names: tuple[str, ...]
) -> dict[str, Tensor]:
    """From the logits that the models themselves give, a few rows at a time."""
    if sharded(model, live):  # the number of its passes goes by the rows of one process
        raise ModelError("a model whose logits are not those of a plain output head needs shard=false")
    device = next(model.parameters()).device

    def of(feed: Feed, targets: Tensor) -> Tensor:
        def logits(one: nn.Module) -> Tensor:
            return one(**feed.inputs).logits.flatten(0, 1)[feed.at].float()  # type: ignore[no-any-return]

        reference = None
        if live is not None:
            with torch.no_grad():
                reference = logits(live)
        return head.of_logits(names, logits(model), targets, reference)

    weight = getattr(head_of(model)[1], "weight", None)
    positions = padded(texts, device).inputs["logits_to_keep"]
    step = 1 if weight is None else max(1, head.CHUNK_LOGITS // (positions * len(weight)))
    parts = [texts[at : at + step] for at in range(0, len(texts), step)]
    found = [
        checkpoint(
            of,
            padded(part, device),
            _joined([ids for _, ids in part], device),
            use_reentrant=False,
            preserve_rng_state=False,
        )
        for part in parts
    ]
    return head.by_name(names, torch.cat(found, dim=1))


def _joined(completions: Sequence[Ids], device: torch.device) -> Tensor:
    return torch.from_numpy(np.concatenate(completions)).long().to(device)
