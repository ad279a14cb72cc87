"""A global batch: its completions, all that is known before its gradient passes, and those passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pairkit.losses import Logps, Loss, WeightedSum
from pairkit.losses.loss import single_parts
from pairkit.training.distributed.processes import CPU, Processes
from pairkit.training.distributed.sharding import collective_pass_count
from pairkit.training.kinds import KINDS, Kind
from pairkit.training.logprobs.attention import using_packed_attention
from pairkit.training.logprobs.draw_in_pass import score_drawn
from pairkit.training.logprobs.forward import against_itself
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
from pairkit.training.logprobs.turns import TURNS
from pairkit.training.step.examples import Examples, Mismatched, Split, examples
from pairkit.training.step.figures import Figures
from pairkit.training.step.negatives import draw, pick, with_columns
from pairkit.training.step.objective import (
    Averages,
    Observed,
    apply,
    inputs,
    observe,
    observes,
    rows_of,
    term_weights,
    total,
    unobserved,
)
from pairkit.training.step.passes import step_passes, usable_completions
from pairkit.training.step.router import Routers, Routing, global_routing

Score = Callable[[Sequence[SetSelection]], Scored]  # a scoring pass under the current weights


@dataclass(frozen=True)
class Batch:
    """A global batch, the same on every process.

    Attributes:
        observed: what the parts of the loss observed of its sets.
        weights: the sum of each term's weights over the batch. Every micro-batch is normalized by these
            global sums, never by its own: a mean of means would weigh a set by the micro-batch it is in.
        draw: how its gradient passes draw for themselves; None where `examples` has the selected
            completions already.
        scored: what was scored for it without gradient.
        routing: how its tokens are sent to experts, where that is balanced.
    """

    examples: Examples
    observed: Observed
    weights: list[float]
    draw: Draw | None = None
    scored: Sequence[SetSelection] = ()
    routing: Routing | None = None


class Draw(NamedTuple):
    """A draw within the gradient pass.

    Attributes:
        pick: selects completions of some rows of the batch, given the log-probs of all their completions.
        lead: whether it has to know that of completion 0.
        most: the most tokens that it can take of each set, for the size of a micro-batch.
    """

    pick: Callable[[Sequence[int], Logps], list[SetSelection]]
    lead: bool
    most: list[SetSelection]


class GradientResult(NamedTuple):
    """What a process did of a batch: its share of the objective, tokens passed, selected completions."""

    value: float
    tokens: int
    work: list[SetSelection]


@dataclass(frozen=True)
class StepModel:
    """The models that score a step: the policy, an online reference if the loss needs one, the token budget.

    Attributes:
        live: the reference where it runs next to the policy; the policy itself where it is its own reference.
        budget: tokens per micro-batch.
        starts_at_reference: whether the policy is the reference until its weights move.
        routers: those of a mixture of experts whose load is balanced.
    """

    loss: Loss | WeightedSum
    model: nn.Module
    live: nn.Module | None
    budget: int
    processes: Processes
    starts_at_reference: bool = False
    routers: Routers | None = None

    def unmoved(self) -> StepModel:
        """Return the models as they are before any weight has moved."""
        if not self.starts_at_reference or "reference" not in self.loss.needs:
            return self
        return replace(self, live=self.model)

    @property
    def kind(self) -> Kind:
        """All that depends on the kind of the model."""
        return KINDS[self.loss.trains]

    @property
    def shared(self) -> bool:
        """Whether a prompt passes once for all completions of its set."""
        return self.kind.packs(self.model, self.live)

    @property
    def want(self) -> frozenset[str]:
        """The statistics of a pass that the loss needs besides sums."""
        return self.loss.needs & PER_TOKEN | ({TURNS} if single_parts(self.loss) else set())

    def scoring(self, want: frozenset[str]) -> Score:
        """Return a scoring pass of any completions, shared out over the processes."""
        return partial(
            score_batch,
            self.model,
            tokens_per_micro_batch=self.budget,
            want=want,
            live=self.live,
            processes=self.processes,
            through=self.kind.score,
            packing=self.kind.packs,
        )

    def gradients(self, batch: Batch, averages: Averages, figures: Figures | None = None) -> GradientResult:
        """Add this process's share of the batch's gradient to the model, micro-batch by micro-batch.

        Gradients are summed, over micro-batches here and over processes afterwards. They can be, because each
        micro-batch's objective is divided by the weights of the whole batch: the sum is the gradient of the
        batch whatever the budget and the number of processes.
        """
        # Split by sizes that every process knows, so that all agree on who takes which set.
        mine = self.processes.share([item.size for item in batch.examples.work])
        work = [batch.examples.work[i] for i in mine]
        value, tokens, selected = 0.0, 0, list[SetSelection]()  # nats; tokens that passed in any way
        shared = self.shared
        # Around backward too, because recomputed activations run the layers' attention again there.
        with using_packed_attention(self.model) if shared else nullcontext():
            # What will be drawn is not known yet: the budget holds for the longest that can be.
            sizes = work if batch.draw is None else [batch.draw.most[i] for i in mine]
            groups = micro_batches(sizes, self.budget, shared=shared)
            # Gathering a sharded layer is collective: all processes have to pass equally often.
            idle = collective_pass_count(len(groups), self.model, self.live) - len(groups)
            for group in groups:
                # B is the number of sets of the group, K their largest number of completions: log-probs are
                # [B, K], in nats, summed over the tokens of a completion.
                # In a fixed order: floating-point sums depend on it, and a resumed run has to end in the
                # same bits.
                rows = [mine[i] for i in group]  # positions in the batch, [B]
                with self.routers.recording() if self.routers else nullcontext():
                    part, scored = self._score(batch, rows)
                device = scored.policy.sum.device
                # An online reference passed with the policy; a precomputed one is looked up, [B, K] as well.
                reference = scored.reference or batch.examples.rows(rows, part).reference_logps(device)
                tensors = inputs(part, scored.policy, reference)
                if figures:
                    figures.watch(scored.policy)
                # Statistics of the batch are looked up, not computed here: a micro-batch is a part of it.
                applied = apply(self.loss, tensors, rows_of(batch.observed, rows, device))
                objective = total(applied.terms, batch.weights)
                # Backward at once: the activations of one micro-batch are freed before the next one's.
                # The balance of experts is no part of the value: it is logged by itself.
                balance = self.routers.term(batch.routing) if self.routers and batch.routing else 0
                (objective + balance).backward()  # type: ignore[no-untyped-call]
                # In double (a Python float), because it is summed over micro-batches and then over processes.
                value += float(objective.detach())
                averages.add_pass(tensors, applied)
                if figures:
                    figures.add_pass(part, tensors, applied)
                tokens += scored.tokens
                selected += part
            for _ in range(idle):
                self._idle(batch.draw)
        return GradientResult(value, tokens, selected)

    def _idle(self, draws: Draw | None) -> None:
        """Pass forward and backward like a micro-batch, and add nothing."""
        if draws is None:
            scored = self.kind.score(self.model, [IDLE], want=self.want, live=self.live)
        else:
            # A draw makes several passes: an idle one has to make as many, in the same order.
            _, scored = score_drawn(self.model, [IDLE], lambda _: [IDLE], self.budget, lead=draws.lead)
        # Times 0, not skipped: backward has to reach every layer, because the other processes wait there.
        (0 * scored.policy.sum.sum()).backward()  # type: ignore[no-untyped-call]

    def _score(self, batch: Batch, rows: Sequence[int]) -> tuple[list[SetSelection], Scored]:
        work = [batch.examples.work[i] for i in rows]
        # The policy of an in-pass draw has no other model next to it: see `passes.draw_in_pass`.
        if batch.draw is None:
            return work, self.kind.score(self.model, work, want=self.want, live=self.live)
        work, scored = score_drawn(
            self.model, work, partial(batch.draw.pick, rows), self.budget, lead=batch.draw.lead
        )
        return work, against_itself(scored, self.want) if self.live is self.model else scored


def prepare(
    step_model: StepModel,
    negatives: Mapping[str, Any],
    split: Split,
    rows: Sequence[int],
    seeds: Tensor,
    figures: Figures | None = None,
) -> Batch:
    """Select the completions of a global batch and show it to the losses that keep statistics.

    Completions are scored at most once (see `step_passes`), always under the weights that the gradient is
    taken at: a draw or a statistic from before the last update would be of another policy.

    Args:
        rows: the sets' numbers in the split, `[B]`.
        seeds: int64 `[B]`, see `order.draw_seeds`.
        figures: gets the probabilities of what is drawn.
    """
    loss = step_model.loss
    # Every process prepares the whole batch; which sets are its own is decided in the gradient passes.
    usable = examples(split, rows, usable_completions(loss, (split.sets[i] for i in rows)))
    # What a gradient pass draws is not known before it, and the balance of experts has to know it.
    shared = step_model.shared and step_model.routers is None
    pass_plan = step_passes(loss, negatives, usable.work, shared=shared)
    before: list[SetSelection] = []
    # First, because kto's reference point of a step is a statistic that the step's own loss reads.
    if pass_plan.mismatched and split.mismatched:
        before += _observe_mismatched(step_model, split.mismatched, rows)
    if pass_plan.in_pass is not None:
        # Nothing is scored now: each micro-batch draws on the keys and values of its own prompts.
        longest, weights, lead = pass_plan.in_pass
        alone = step_model.live is step_model.model
        drawing = Draw(partial(_pick, loss, negatives, usable, seeds, alone, figures), lead, longest)
        # No part observes here: statistics of the batch would need its log-probs before the first gradient.
        return Batch(usable, unobserved(loss), weights, drawing, before)
    scoring = step_model.scoring(pass_plan.statistics)
    # On the CPU and the same on every process, so that all draw the same completions: a draw that differed by
    # rounding between devices would give two processes different batches.
    scored = scoring(usable.work) if pass_plan.scoring == "all" else None
    work = usable.work
    if figures and scored and step_model.processes.main:  # all processes have the same numbers
        figures.add_draw(usable, scored.policy, scored.reference)
    if pass_plan.draws:
        work, scored = draw(loss, negatives, usable, seeds, scored)
    # After the draw, because only what was drawn has to be scored for the statistics.
    if pass_plan.scoring == "selected":
        scored = scoring(work)
    before += pass_plan.scored(usable.work, work)
    # The log-probs of the reference stay, of all completions; the selection is that of `work`.
    batch = usable.rows(range(len(rows)), work)
    length, mask = lengths(work)
    # Weights of terms do not depend on log-probs, so zeros serve where nothing was scored.
    policy = scored.policy if scored else Logps(torch.zeros(mask.shape), length, mask)
    observed = unobserved(loss)
    if pass_plan.observes:
        reference = (scored.reference if scored else None) or batch.reference_logps(CPU)
        observed = observe(loss, inputs(work, policy, reference), seeds)
    # Weights of the whole batch, before its first backward: every micro-batch is divided by the same sums.
    routing = None
    if step_model.routers:
        model, live = step_model.model, step_model.live
        routing = global_routing(
            step_model.routers, model, live, work, step_model.budget, step_model.processes
        )
        before += work
    weights = term_weights(loss, work, policy, observed)
    return Batch(batch, observed, weights, scored=before, routing=routing)


def _pick(
    loss: Loss | WeightedSum,
    negatives: Mapping[str, Any],
    usable: Examples,
    seeds: Tensor,
    alone: bool,
    figures: Figures | None,
    rows: Sequence[int],
    policy: Logps,
) -> list[SetSelection]:
    """Sample for some rows of the batch. Seeds are per set, so the micro-batch does not change the sample.

    Args:
        alone: whether the policy is its own reference.
    """
    some, reference = usable.rows(rows), policy if alone else None
    if figures:
        figures.add_draw(some, policy, reference)
    # `rows` are positions in the batch, and so are those of the seeds.
    return with_columns(some.work, pick(loss, negatives, some, seeds[list(rows)], policy, reference))


def _observe_mismatched(
    step_model: StepModel, mismatched: Mismatched, rows: Sequence[int]
) -> list[SetSelection]:
    """Show prompts of the batch with completions of others to the losses that measure them."""
    work = [SetSelection.all(mismatched.sets[i]) for i in rows]
    # Sums are enough: kto's reference point is a mean of log-ratios of whole completions, nats.
    scored = step_model.scoring(frozenset())(work)
    reference = scored.reference
    if reference is None and mismatched.reference is not None:
        reference = as_logps(work, [mismatched.reference[i] for i in rows], CPU)
    # All processes see all of them, and so keep the same statistics without exchanging any.
    for _, part in step_model.loss.parts:
        if observes(part, "mismatched"):
            part.observe(scored.policy, reference)
    return work
