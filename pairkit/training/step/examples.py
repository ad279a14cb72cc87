"""Sets with what is known of them before any pass: tokens and the reference's log-probs.

The reference does not change, so its log-probs are computed once, before training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from pairkit.errors import InputError
from pairkit.losses import Logps
from pairkit.schema import short_hash
from pairkit.training.logprobs.selection import SetSelection, Sums, as_logps
from pairkit.training.tokens.token_set import Column, TokenSet


@dataclass(frozen=True)
class Mismatched:
    """Prompts with completions of other prompts: what kto's reference point is measured on."""

    sets: list[TokenSet]
    reference: Sums | None


@dataclass(frozen=True)
class Split:
    """Tokenized sets, and what the loss needs to know of them.

    Attributes:
        reference: for each set `[K]`, the reference's summed log-prob of every completion, nats; None without
            a reference, or with an online one.
        heads: for each set `[K, 2]`, the reference's log-prob of the first min(|0|, |j|) scored tokens of
            completion 0 and of completion j, nats; for ld_dpo.
        mismatched: for each set, its prompt with another prompt's completions; for kto.
    """

    sets: Sequence[TokenSet]
    reference: Sums | None = None
    heads: Sums | None = None
    mismatched: Mismatched | None = None


@dataclass(frozen=True)
class Examples:
    """Some completions of some sets.

    The lists are aligned by set. `reference` and `heads` hold all completions of each, because then selecting
    others of the same sets needs no new pass.
    """

    work: list[SetSelection]
    reference: Sums | None
    heads: Sums | None = None

    def rows(self, rows: Sequence[int], work: list[SetSelection] | None = None) -> Examples:
        """Select some of the sets, with other completions of them where `work` is passed."""
        return Examples(
            [self.work[i] for i in rows] if work is None else work,
            [self.reference[i] for i in rows] if self.reference is not None else None,
            [self.heads[i] for i in rows] if self.heads is not None else None,
        )

    def sums(self, device: torch.device) -> Logps | None:
        """Return the reference's log-probs of whole completions, without heads: what a draw compares."""
        return replace(self, heads=None).reference_logps(device)

    def reference_logps(self, device: torch.device) -> Logps | None:
        """Return the reference's log-probs, `[B, K]`; None where they come from a pass."""
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
    """Take the sets `rows` of a split, with the completions of `work`."""
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
    """Compute what a loss with these needs has to know of the sets before training.

    Args:
        compute: returns the reference's summed log-prob of every completion of some sets.
        mismatching: `seed` and `max_length`, for a loss that needs mismatched completions.
    """
    if "reference" not in needs:
        return Split(sets)
    others = mismatch(sets, **mismatching) if "kl_baseline" in needs else []
    if "token_kl" in needs:  # the online reference then runs in each step, and gives the sums too
        return Split(sets, mismatched=Mismatched(others, None) if others else None)
    prefixes = _prefixes(sets) if "head_sum" in needs else []
    # One call for all three, because it loads the reference model.
    sums = compute([*sets, *prefixes, *others] if prefixes or others else sets)
    # Per set [2 K] of prefixes, which alternate between completion 0 and the other, and [1 or 2] of others.
    heads, last = sums[len(sets) : len(sets) + len(prefixes)], sums[len(sets) + len(prefixes) :]
    return Split(
        sets,
        sums[: len(sets)],
        [row.reshape(-1, 2) for row in heads] if prefixes else None,
        Mismatched(others, last) if others else None,
    )


def mismatch(sets: Sequence[TokenSet], *, seed: int, max_length: int) -> list[TokenSet]:
    """Combine each set's prompt with the best and the last completion of a set with another prompt.

    The partner is the next one in a seeded order of the whole split, so that it does not depend on the batch;
    its completions are cut where they exceed `max_length` after this prompt. One whose scored tokens are all
    cut off has a log-prob of 0, and so a log-ratio of 0.

    Raises:
        InputError: all sets have the same prompt.
    """
    # By a hash per set, so that two sets keep their order when others are added.
    order = sorted(range(len(sets)), key=lambda i: short_hash([seed, sets[i].set_id]))
    prompts = [item.prompt.tobytes() for item in sets]
    if len(set(prompts)) < 2:
        raise InputError(
            "all sets have the same prompt, but kto scores a prompt with another's completions; "
            "add sets with other prompts"
        )
    combinations: dict[int, TokenSet] = {}  # by index, because the cycle yields them in another order
    for i, j in partners(order, prompts):
        partner = sets[j]
        room = max_length - len(sets[i].prompt)  # tokens
        ends = (partner.columns[0], *partner.columns[1:][-1:])
        columns = tuple(column.cut(room) for column in ends)
        combinations[i] = TokenSet(sets[i].set_id, sets[i].prompt, columns)
    return [combinations[i] for i in range(len(sets))]


def partners(order: Sequence[int], prompts: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """Pair each set of a cyclic order with the next one of another prompt; there are at least two prompts."""
    # Backwards, so that the next set of another prompt is known when a run of equal prompts is passed.
    partner = order[0]
    for at in reversed(range(2 * len(order))):  # twice around, because the end continues at the beginning
        here, following = order[at % len(order)], order[(at + 1) % len(order)]
        if prompts[here] != prompts[following]:
            partner = following
        if at < len(order):
            yield here, partner


def _prefixes(sets: Sequence[TokenSet]) -> list[TokenSet]:
    """Cut the first completion and each (itself included) to as many scored tokens as both have.

    The log-prob of the first n tokens of a completion is that of the completion that ends there.
    """
    prefixes = []
    for item in sets:
        columns: list[Column] = []
        for other in item.columns:
            shared = min(item.columns[0].length, other.length)  # tokens
            columns += [column.prefix(shared) for column in (item.columns[0], other)]
        prefixes.append(TokenSet(item.set_id, item.prompt, tuple(columns)))
    return prefixes
