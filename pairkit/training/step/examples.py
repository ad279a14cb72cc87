"""Sets with what is known of them before any pass: tokens and the reference's log-probs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from pairkit.errors import InputError
from pairkit.losses import Logps
from pairkit.schema import short_hash
from pairkit.training.logprobs.selection import SetSelection, Sums, as_logps
from pairkit.training.tokens.sets import Column, TokenSet


@dataclass(frozen=True)
class Mismatched:
    """Prompts with completions of other prompts: what kto's reference point is measured on."""

    sets: list[TokenSet]
    reference: Sums | None


@dataclass(frozen=True)
class Split:
    """Tokenized sets, and what the loss needs to know of them.

    Attributes:
        reference: the reference's summed log-prob of every column; None without a reference, or with a live
            one.
        heads: for each set [K, 2], the reference's log-prob of the first min(|column 0|, |column j|) tokens
            of column 0 and of column j; for ld_dpo.
        mismatched: for each set, its prompt with another prompt's completions; for kto.
    """

    sets: Sequence[TokenSet]
    reference: Sums | None = None
    heads: Sums | None = None
    mismatched: Mismatched | None = None


@dataclass(frozen=True)
class Examples:
    """Some columns of some sets; the lists are aligned, and `reference` and `heads` hold all columns."""

    work: list[SetSelection]
    reference: Sums | None
    heads: Sums | None = None

    def rows(self, rows: Sequence[int], work: list[SetSelection] | None = None) -> Examples:
        """Some of them, with other columns of the same sets where `work` is given."""
        return Examples(
            [self.work[i] for i in rows] if work is None else work,
            [self.reference[i] for i in rows] if self.reference is not None else None,
            [self.heads[i] for i in rows] if self.heads is not None else None,
        )

    def known(self, device: torch.device) -> Logps | None:
        """The reference's log-probs; None where they are not known before a pass."""
        if self.reference is None:
            return None
        logps = as_logps(self.work, self.reference, device)
        if self.heads is None:
            return logps
        chosen, own = (
            as_logps(self.work, [row[:, side] for row in self.heads], device).sum for side in (0, 1)
        )
        return replace(logps, head_sum=own, chosen_head=chosen)


def examples(split: Split, rows: Sequence[int], work: list[SetSelection]) -> Examples:
    """The sets `rows` of a split with the columns of `work`."""
    return Examples(
        work,
        [split.reference[i] for i in rows] if split.reference is not None else None,
        [split.heads[i] for i in rows] if split.heads is not None else None,
    )


def split_for(
    needs: frozenset[str],
    sets: Sequence[TokenSet],
    compute: Callable[[Sequence[TokenSet]], Sums],
    **mismatching: int,
) -> Split:
    """What a loss with these needs has to know of the sets before training.

    Args:
        compute: gives the reference's summed log-prob of every column of some sets.
        mismatching: `seed` and `max_length`, for a loss that needs mismatched completions.
    """
    if "reference" not in needs:
        return Split(sets)
    others = mismatch(sets, **mismatching) if "kl_baseline" in needs else []
    if "token_kl" in needs:  # the live reference gives the rest too
        return Split(sets, mismatched=Mismatched(others, None) if others else None)
    prefixes = _prefixes(sets) if "head_sum" in needs else []
    sums = compute([*sets, *prefixes, *others] if prefixes or others else sets)
    heads, last = sums[len(sets) : len(sets) + len(prefixes)], sums[len(sets) + len(prefixes) :]
    return Split(
        sets,
        sums[: len(sets)],
        [row.reshape(-1, 2) for row in heads] if prefixes else None,
        Mismatched(others, last) if others else None,
    )


def mismatch(sets: Sequence[TokenSet], *, seed: int, max_length: int) -> list[TokenSet]:
    """Each set's prompt with the best and the last completion of a set with another prompt.

    The partner is the next one in a seeded order, the same whatever the batch; its completions are cut where
    they exceed `max_length` behind this prompt.

    Raises:
        InputError: all sets have the same prompt.
    """
    order = sorted(range(len(sets)), key=lambda i: short_hash([seed, sets[i].set_id]))
    prompts = [item.prompt.tobytes() for item in sets]
    if len(set(prompts)) < 2:
        raise InputError(
            "kto compares a prompt with completions of others, and all sets have the same prompt"
        )
    found: dict[int, TokenSet] = {}
    for i, j in partners(order, prompts):
        partner = sets[j]
        room = max_length - len(sets[i].prompt)
        ends = (partner.columns[0], *partner.columns[1:][-1:])
        columns = tuple(column._replace(ids=column.ids[:room]) for column in ends)
        found[i] = TokenSet(sets[i].set_id, sets[i].prompt, columns)
    return [found[i] for i in range(len(sets))]


def partners(order: Sequence[int], prompts: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """Each of a cyclic order with the next one of another prompt, of which there are two at least."""
    partner = order[0]
    for at in reversed(range(2 * len(order))):  # twice round: the end of the order goes on at its beginning
        here, following = order[at % len(order)], order[(at + 1) % len(order)]
        if prompts[here] != prompts[following]:
            partner = following
        if at < len(order):
            yield here, partner


def _prefixes(sets: Sequence[TokenSet]) -> list[TokenSet]:
    """The first completion and each, itself included, cut to the shorter one's length, pair by pair.

    The log-prob of the first n tokens of a completion is that of the completion that ends there.
    """
    found = []
    for item in sets:
        columns: list[Column] = []
        for other in item.columns:
            shorter = min(len(item.columns[0].ids), len(other.ids))
            columns += [one._replace(ids=one.ids[:shorter]) for one in (item.columns[0], other)]
        found.append(TokenSet(item.set_id, item.prompt, tuple(columns)))
    return found
