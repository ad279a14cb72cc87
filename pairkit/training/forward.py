"""Where log-probs are made: candidate sets in, `Logps` out.

Everything above this module speaks of sets and columns. Here each completion is a row, prompt and
completion together, padded on the right to the longest of its micro-batch. A pass that shares the prompt
of a set takes the place of `_rows` and `_pass`, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.special import entr

from pairkit.losses import Logps
from pairkit.training.tokens import TokenSet

ENTROPY_TOKENS = 1024  # at once: each takes a few floats for every token of the vocabulary


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
    """
    sums, entropies = _pass(model, work, entropy="entropy" in want)
    entropy = _spread(entropies, work).mean if "entropy" in want else None
    return Scored(_spread(sums, work), None, entropy)


def score_with_entropy(model: nn.Module, work: Sequence[Work]) -> tuple[Logps, Tensor]:
    """`score`, and the model's mean entropy over the tokens of each set's first column, nats, [sets]."""
    scored = score(model, work, want=frozenset({"entropy"}))
    assert scored.entropy is not None
    return scored.policy, scored.entropy[:, 0]


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
    parts = [(i, part) for i, item in enumerate(work) for part in _parts(item, budget)]
    for group in micro_batches([part for _, part in parts], budget):
        with torch.no_grad():
            scored = score(model, [parts[i][1] for i in group], want=want, live=live)
        yield [(parts[i][0], parts[i][1].columns) for i in group], scored


def _parts(item: Work, budget: int) -> list[Work]:
    most = max(1, budget // item.width)
    return [Work(item.tokens, item.columns[at : at + most]) for at in range(0, len(item.columns), most)]


def _rows(work: Sequence[Work], device: torch.device) -> tuple[Tensor, Tensor, Tensor, int]:
    """Token ids [rows, tokens], attention mask, which tokens are scored, and the shortest prompt."""
    pairs = [(item.tokens.prompt, item.tokens.columns[c].ids) for item in work for c in item.columns]
    width = max(len(prompt) + len(completion) for prompt, completion in pairs)
    ids = torch.zeros(len(pairs), width, dtype=torch.int64)
    attention = torch.zeros(len(pairs), width, dtype=torch.int64)
    scored = torch.zeros(len(pairs), width, dtype=torch.bool)
    for row, (prompt, completion) in enumerate(pairs):
        start, end = len(prompt), len(prompt) + len(completion)
        ids[row, :start] = torch.from_numpy(prompt)
        ids[row, start:end] = torch.from_numpy(completion)
        attention[row, :end] = 1
        scored[row, start:end] = True
    shortest = min(len(prompt) for prompt, _ in pairs)
    return ids.to(device), attention.to(device), scored.to(device), shortest


def _pass(model: nn.Module, work: Sequence[Work], *, entropy: bool) -> tuple[Tensor, Tensor]:
    """[rows] each: the summed log-prob and the summed entropy of every row's completion tokens."""
    device = next(model.parameters()).device
    ids, attention, scored, shortest = _rows(work, device)
    keep = ids.shape[1] - shortest + 1  # no logits for what is prompt in every row
    logits = model(input_ids=ids, attention_mask=attention, use_cache=False, logits_to_keep=keep).logits
    scored, targets = scored[:, shortest:], ids[:, shortest:]
    used = logits[:, :-1][scored].float()  # [completion tokens, vocabulary]
    owner = scored.nonzero()[:, 0]
    nothing = torch.zeros(len(ids), device=device)
    sums = nothing.index_add(0, owner, -cross_entropy(used, targets[scored], reduction="none"))
    if not entropy:
        return sums, nothing
    each = [entr(part.softmax(dim=-1)).sum(dim=-1) for part in used.split(ENTROPY_TOKENS)]
    return sums, nothing.index_add(0, owner, torch.cat(each))


def _spread(rows: Tensor, work: Sequence[Work]) -> Logps:
    length, mask = lengths(work, rows.device)
    sums = torch.zeros(mask.shape, dtype=rows.dtype, device=rows.device).masked_scatter(mask, rows)
    return Logps(sums, length, mask)
