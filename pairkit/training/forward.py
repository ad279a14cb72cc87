"""Where log-probs are made: candidate sets in, `Logps` out.

Everything above this module speaks of sets and columns. Here each completion is a row of a padded batch. A
pass that shares the prompt of a set takes the place of `rows.py`, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pairkit.losses import Logps
from pairkit.training import head
from pairkit.training.hidden import head_of, hidden_states
from pairkit.training.rows import Rows, padded
from pairkit.training.tokens import TokenSet

WANT = frozenset({"token_kl", "alignment", "head_sum", "entropy"})  # what a pass can give besides sums


class Work(NamedTuple):
    """A set and which of its columns are wanted."""

    tokens: TokenSet
    columns: tuple[int, ...]

    @property
    def width(self) -> int:
        """Tokens of its longest row."""
        return len(self.tokens.prompt) + max(len(self.tokens.columns[c].ids) for c in self.columns)


def micro_batches(work: Sequence[Work], budget: int) -> list[list[int]]:
    """Positions in `work` in groups whose padded rows hold at most `budget` tokens; longest sets first.

    A set is never divided; one that exceeds the budget alone is a group of its own.
    """
    groups: list[list[int]] = []
    rows = width = 0
    for position in sorted(range(len(work)), key=lambda i: -work[i].width):
        more = len(work[position].columns)
        if not groups or (rows + more) * width > budget:
            groups.append([])
            rows, width = 0, work[position].width  # the first of a group is its longest
        groups[-1].append(position)
        rows += more
    return groups


class Scored(NamedTuple):
    """What a pass over some sets gives: [sets, most columns of a set] each.

    Attributes:
        policy: the model's own statistics, with gradient.
        reference: those of the live reference, without gradient; None without one.
        entropy: mean over the tokens of each column, nats, without gradient; None unless wanted.
    """

    policy: Logps
    reference: Logps | None
    entropy: Tensor | None


def score(
    model: nn.Module,
    work: Sequence[Work],
    *,
    want: frozenset[str] = frozenset(),
    live: nn.Module | None = None,
) -> Scored:
    """The log-probs of the wanted columns, float32, with gradient.

    Column j of the result is `work[i].columns[j]`; sets with fewer columns are masked.

    Args:
        want: what is computed besides sums, of `WANT`. "head_sum" sums the first n tokens, n being the length
            of the shortest wanted column of the set.
        live: a reference model on the same device, passed without gradient beside the policy.

    Raises:
        ValueError: something unknown is wanted, or "token_kl" without a live reference or with one of another
            vocabulary.
    """
    return _score(model, work, [_shortest(item) for item in work], want, live)


def lengths(work: Sequence[Work], device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """`Logps.length` and `Logps.mask` of the wanted columns, without a pass."""
    most = max(len(item.columns) for item in work)
    length = torch.zeros(len(work), most, dtype=torch.int64)
    mask = torch.zeros(len(work), most, dtype=torch.bool)
    for i, item in enumerate(work):
        count = len(item.columns)
        length[i, :count] = torch.tensor([len(item.tokens.columns[c].ids) for c in item.columns])
        mask[i, :count] = True
    return length.to(device), mask.to(device)


def score_all(
    model: nn.Module,
    work: Sequence[Work],
    budget: int,
    *,
    want: frozenset[str] = frozenset(),
    live: nn.Module | None = None,
) -> Iterator[tuple[list[tuple[int, tuple[int, ...]]], Scored]]:
    """Scores any number of sets without gradient, the columns of one that exceeds the budget in parts.

    Yields, for each row of the log-probs, its position in `work` and which columns of that set it holds.
    """
    shortest = [_shortest(item) for item in work]  # of all wanted columns, whichever part they are in
    parts = [(i, part) for i, item in enumerate(work) for part in _parts(item, budget)]
    for group in micro_batches([part for _, part in parts], budget):
        taken = [parts[i] for i in group]
        with torch.no_grad():
            scored = _score(model, [part for _, part in taken], [shortest[i] for i, _ in taken], want, live)
        yield [(i, part.columns) for i, part in taken], scored


def _parts(item: Work, budget: int) -> list[Work]:
    most = max(1, budget // item.width)
    return [Work(item.tokens, item.columns[at : at + most]) for at in range(0, len(item.columns), most)]


def _shortest(item: Work) -> int:
    """Tokens of its shortest wanted completion."""
    return min(len(item.tokens.columns[c].ids) for c in item.columns)


def _score(
    model: nn.Module,
    work: Sequence[Work],
    shortest: Sequence[int],
    want: frozenset[str],
    live: nn.Module | None,
) -> Scored:
    if want - WANT:
        raise ValueError(f"unknown statistics {sorted(want - WANT)}; there are {sorted(WANT)}")
    if "token_kl" in want and live is None:
        raise ValueError("token_kl needs a live reference model")
    texts = [
        (item.tokens.prompt, item.tokens.columns[c].ids, count)
        for item, count in zip(work, shortest, strict=True)
        for c in item.columns
    ]
    rows = padded(texts, next(model.parameters()).device)
    tokens = _tokens(model, live, rows, head.statistics_of(want, live=live is not None))
    length, mask = lengths(work, rows.ids.device)
    owner, first = rows.owner, rows.first[rows.scored]
    zeros = torch.zeros(mask.shape, device=mask.device)

    def sums(name: str) -> Tensor:
        each = torch.zeros(len(rows.ids), device=mask.device).index_add(0, owner, tokens[name])
        return zeros.masked_scatter(mask, each)

    def means(name: str) -> Tensor | None:
        return sums(name) / length.clamp(min=1) if name in want else None

    def head_sums(name: str) -> Tensor | None:
        if "head_sum" not in want:
            return None
        each = torch.zeros(len(rows.ids), device=mask.device)
        return zeros.masked_scatter(mask, each.index_add(0, owner[first], tokens[name][first]))

    policy = Logps(
        sums("logp"),
        length,
        mask,
        token_kl=sums("token_kl") if "token_kl" in want else None,
        alignment=means("alignment"),
        head_sum=head_sums("logp"),
    )
    reference = None
    if live is not None:
        reference = Logps(sums("reference"), length, mask, head_sum=head_sums("reference"))
    return Scored(policy, reference, means("entropy"))


def _tokens(
    model: nn.Module, live: nn.Module | None, rows: Rows, names: tuple[str, ...]
) -> dict[str, Tensor]:
    """What is computed of each scored token, [tokens] by name.

    The models' own logits serve where all of them make one chunk, else where a head is not a plain one.
    """
    weight = getattr(head_of(model)[1], "weight", None)
    some = 0 if weight is None else head.CHUNK_LOGITS // (rows.keep * len(weight))  # rows that make a chunk
    if len(rows.ids) <= some and weight is not None and weight.dtype == torch.float32:
        return head.by_name(names, _of_models(model, live, rows, names))
    reference = None
    if live is not None:
        with torch.no_grad():
            reference = hidden_states(live, rows.inputs(), rows.scored)
    if live is None or reference is not None:
        policy = hidden_states(model, rows.inputs(), rows.scored)
        if policy is not None:
            return head.token_statistics(names, policy, rows.targets, reference)
    step = max(1, some)
    parts = [rows.part(slice(at, at + step)) for at in range(0, len(rows.ids), step)]
    found = [
        checkpoint(_of_models, model, live, part, names, use_reentrant=False, preserve_rng_state=False)
        for part in parts
    ]
    return head.by_name(names, torch.cat(found, dim=1))


def _of_models(model: nn.Module, live: nn.Module | None, rows: Rows, names: tuple[str, ...]) -> Tensor:
    """[names, tokens], from the logits that the models themselves give."""

    def logits(of: nn.Module) -> Tensor:
        every = of(**rows.inputs()).logits
        return every[:, -rows.keep : -1][rows.scored].float()  # type: ignore[no-any-return]

    reference = None
    if live is not None:
        with torch.no_grad():
            reference = logits(live)
    return head.of_logits(names, logits(model), rows.targets, reference)
