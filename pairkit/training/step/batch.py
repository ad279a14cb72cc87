"""A global batch: the columns that it takes, and all that is known of it before its gradient passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pairkit.losses import Logps, Loss, WeightedSum
from pairkit.losses.sampling import NEEDS_POLICY
from pairkit.training.distributed.processes import CPU, Processes
from pairkit.training.distributed.sharding import collective_pass_count
from pairkit.training.logprobs.attention import using_packed_attention
from pairkit.training.logprobs.draw_in_pass import score_drawn
from pairkit.training.logprobs.forward import score
from pairkit.training.logprobs.probe import packs
from pairkit.training.logprobs.scoring import score_batch
from pairkit.training.logprobs.selection import (
    IDLE,
    PER_TOKEN,
    Scored,
    SetSelection,
    as_logps,
    lengths,
    micro_batches,
)
from pairkit.training.step.examples import Examples, Mismatched, Split, examples
from pairkit.training.step.negatives import Score, draw, draws, longest, pick, taken
from pairkit.training.step.objective import (
    Averages,
    Observed,
    apply,
    fixed_weights,
    inputs,
    observe,
    observes,
    rows_of,
    term_weights,
    total,
)


@dataclass(frozen=True)
class Batch:
    """A global batch, the same on every process.

    Attributes:
        observed: what the parts of the loss said of its sets.
        weights: the sum of each term's weights over the batch, which normalise each micro-batch, so that
            their number does not matter.
        draw: how its gradient passes draw for themselves; None where `examples` has the columns that they
            take.
        scored: what was scored for it without gradient.
    """

    examples: Examples
    observed: Observed
    weights: list[float]
    draw: Draw | None = None
    scored: Sequence[SetSelection] = ()


class Draw(NamedTuple):
    """A draw within the gradient pass.

    Attributes:
        pick: the columns of some rows of the batch, from the log-probs of all their columns.
        lead: whether it has to know that of column 0.
        most: columns that it can take of a set at most, the longest ones, for the size of a micro-batch.
    """

    pick: Callable[[Sequence[int], Logps], list[SetSelection]]
    lead: bool
    most: list[SetSelection]


class GradientResult(NamedTuple):
    """What a process did of a batch: its share of the objective, tokens that passed, drawn columns."""

    value: float
    tokens: int
    work: list[SetSelection]


@dataclass(frozen=True)
class StepModel:
    """What makes log-probs for a loss: the policy, a live reference where the loss needs one, the budget."""

    loss: Loss | WeightedSum
    model: nn.Module
    live: nn.Module | None
    budget: int
    processes: Processes

    @property
    def want(self) -> frozenset[str]:
        """What the loss needs of a pass besides sums."""
        return self.loss.needs & PER_TOKEN

    def scoring(self, want: frozenset[str]) -> Score:
        """A scoring pass of any columns, shared out over the processes."""
        return partial(
            score_batch,
            self.model,
            tokens_per_micro_batch=self.budget,
            want=want,
            live=self.live,
            processes=self.processes,
        )

    def gradients(self, batch: Batch, averages: Averages) -> GradientResult:
        """Adds this process's share of the batch's gradient to the model, micro-batch by micro-batch."""
        mine = self.processes.share([one.size for one in batch.examples.work])
        work = [batch.examples.work[i] for i in mine]
        value, tokens, taken = 0.0, 0, list[SetSelection]()
        shared = packs(self.model, self.live)
        with (
            using_packed_attention(self.model) if shared else nullcontext()
        ):  # layers may pass again in backward
            sizes = work if batch.draw is None else [batch.draw.most[i] for i in mine]
            groups = micro_batches(sizes, self.budget, shared=shared)
            idle = collective_pass_count(len(groups), self.model, self.live) - len(groups)
            for group in groups:
                rows = [mine[i] for i in group]
                part, scored = self._score(batch, rows)
                device = scored.policy.sum.device
                known = scored.reference or batch.examples.rows(rows, part).known(device)
                given = inputs(part, scored.policy, known)
                applied = apply(self.loss, given, rows_of(batch.observed, rows, device))
                objective = total(applied.terms, batch.weights)
                objective.backward()  # type: ignore[no-untyped-call]
                value += float(objective.detach())
                averages.add_pass(given, applied)
                tokens += scored.tokens
                taken += part
            for _ in range(idle):
                self._idle(batch.draw)
        return GradientResult(value, tokens, taken)

    def _idle(self, draws: Draw | None) -> None:
        """Passes forward and backward like a micro-batch, and adds nothing."""
        if draws is None:
            scored = score(self.model, [IDLE], want=self.want, live=self.live)
        else:
            _, scored = score_drawn(self.model, [IDLE], lambda _: [IDLE], self.budget, lead=draws.lead)
        (0 * scored.policy.sum.sum()).backward()  # type: ignore[no-untyped-call]

    def _score(self, batch: Batch, rows: Sequence[int]) -> tuple[list[SetSelection], Scored]:
        work = [batch.examples.work[i] for i in rows]
        if batch.draw is None:
            return work, score(self.model, work, want=self.want, live=self.live)
        pick, lead, _ = batch.draw
        return score_drawn(self.model, work, partial(pick, rows), self.budget, lead=lead)


def prepare(
    through: StepModel, negatives: Mapping[str, Any], split: Split, rows: Sequence[int], seeds: Tensor
) -> Batch:
    """Draws the columns of a global batch and shows it to the losses that keep statistics.

    Completions are scored, once, where the draw or a statistic depends on the present weights: before the
    gradient passes, or within them where nothing else has to be known of the whole batch.
    """
    loss = through.loss
    before = _observe_mismatched(through, split.mismatched, rows) if split.mismatched else []
    columns = slice(1) if loss.completions == "first" else slice(None)
    sets = (split.sets[i] for i in rows)
    every = examples(
        split, rows, [SetSelection(one, tuple(range(len(one.columns)))[columns]) for one in sets]
    )
    watched = [part for _, part in loss.parts if observes(part, "batch")]
    observed = _unobserved(loss)
    within = draws_within(loss, negatives, every.work)
    if within is not None and through.live is None and packs(through.model):
        most, weights = within
        drawing = Draw(partial(_pick, loss, negatives, every, seeds), negatives["include_chosen"], most)
        return Batch(every, observed, weights, drawing, before)
    want = frozenset[str]().union(*(part.needs for part in watched)) & PER_TOKEN
    scoring = through.scoring(want)
    work, scored = draw(loss, negatives, every, seeds, scoring)
    batch = every.rows(range(len(rows)), work)
    before += every.work if scored else []
    if watched and scored is None:
        scored = scoring(work)
        before += work
    length, mask = lengths(work)
    policy = scored.policy if scored else Logps(torch.zeros(mask.shape), length, mask)
    if watched:
        reference = (scored.reference if scored else None) or batch.known(CPU)
        observed = observe(loss, inputs(work, policy, reference), seeds)
    return Batch(batch, observed, term_weights(loss, work, policy, observed), scored=before)


def _pick(
    loss: Loss | WeightedSum,
    negatives: Mapping[str, Any],
    every: Examples,
    seeds: Tensor,
    rows: Sequence[int],
    policy: Logps,
) -> list[SetSelection]:
    some = every.rows(rows)
    return taken(some.work, pick(loss, negatives, some, seeds[list(rows)], policy))


def draws_within(
    loss: Loss | WeightedSum, negatives: Mapping[str, Any], every: Sequence[SetSelection]
) -> tuple[list[SetSelection], list[float]] | None:
    """The most that is drawn, and the terms' weights, where micro-batches that pack can draw for themselves.

    That is by the policy, from log-probs that its sums alone make, and where nothing else has to be known of
    the whole batch; None elsewhere.
    """
    if (
        any(observes(part, "batch") for _, part in loss.parts)
        or negatives["sampling"] not in NEEDS_POLICY
        or not draws(loss, negatives, every)
        or min(len(one.columns) for one in every) == 1
        or loss.needs & PER_TOKEN
    ):
        return None
    most = longest(every, negatives)
    weights = fixed_weights(loss, most, _unobserved(loss))
    return None if weights is None else (most, weights)


def _unobserved(loss: Loss | WeightedSum) -> Observed:
    return [None if part.every_call else {} for _, part in loss.parts]


def _observe_mismatched(
    through: StepModel, mismatched: Mismatched, rows: Sequence[int]
) -> list[SetSelection]:
    """Shows prompts of the batch with completions of others to the losses that measure them."""
    sets = [mismatched.sets[i] for i in rows]
    work = [SetSelection.all(item) for item in sets]
    scored = through.scoring(frozenset())(work)
    reference = scored.reference
    if mismatched.reference is not None:
        reference = as_logps(work, [mismatched.reference[i] for i in rows], CPU)
    for _, part in through.loss.parts:
        if observes(part, "mismatched"):
            part.observe(scored.policy, reference)
    return work
