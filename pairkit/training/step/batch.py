"""A global batch, and its gradient passes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

from torch import nn

from pairkit.losses import Logps, Loss, WeightedSum
from pairkit.losses.loss import single_parts
from pairkit.training.distributed.processes import Processes
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
    micro_batches,
)
from pairkit.training.logprobs.turns import TURNS
from pairkit.training.step.averages import Averages
from pairkit.training.step.examples import Examples
from pairkit.training.step.figures import Figures
from pairkit.training.step.objective import Observed, apply, inputs, rows_of
from pairkit.training.step.router import Routers, Routing
from pairkit.training.step.term_weights import total

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
        # One pass gives both log-probs, equal to the bit: rounding between two passes would decide the order
        # of the first step's rewards.
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
        value, tokens, selection = 0.0, 0, list[SetSelection]()  # nats; tokens that passed in any way
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
                    part, scores = self._score(batch, rows)
                device = scores.policy.sum.device
                # An online reference passed with the policy; a precomputed one is looked up, [B, K] as well.
                reference = scores.reference or batch.examples.rows(rows, part).reference_logps(device)
                tensors = inputs(part, scores.policy, reference)
                if figures:
                    figures.watch(scores.policy)
                # Statistics of the batch are looked up, not computed here: a micro-batch is a part of it.
                outcome = apply(self.loss, tensors, rows_of(batch.observed, rows, device))
                objective = total(outcome.terms, batch.weights)
                # Backward at once: the activations of one micro-batch are freed before the next one's.
                # The balance of experts is no part of the value: it is logged by itself.
                balance = self.routers.term(batch.routing) if self.routers and batch.routing else 0
                (objective + balance).backward()  # type: ignore[no-untyped-call]
                # In double (a Python float), because it is summed over micro-batches and then over processes.
                value += float(objective.detach())
                averages.add_pass(tensors, outcome)
                if figures:
                    figures.add_pass(part, tensors, outcome)
                tokens += scores.tokens
                selection += part
            for _ in range(idle):
                self._idle(batch.draw)
        return GradientResult(value, tokens, selection)

    def _idle(self, draws: Draw | None) -> None:
        """Pass forward and backward like a micro-batch, and add nothing."""
        if draws is None:
            scores = self.kind.score(self.model, [IDLE], want=self.want, live=self.live)
        else:
            # A draw makes several passes: an idle one has to make as many, in the same order.
            _, scores = score_drawn(self.model, [IDLE], lambda _: [IDLE], self.budget, lead=draws.lead)
        # Times 0, not skipped: backward has to reach every layer, because the other processes wait there.
        (0 * scores.policy.sum.sum()).backward()  # type: ignore[no-untyped-call]

    def _score(self, batch: Batch, rows: Sequence[int]) -> tuple[list[SetSelection], Scored]:
        work = [batch.examples.work[i] for i in rows]  # the examples of `rows` alone, [B] of the micro-batch
        # The policy of an in-pass draw has no other model next to it: see `passes.draw_in_pass`.
        if batch.draw is None:
            return work, self.kind.score(self.model, work, want=self.want, live=self.live)
        work, scores = score_drawn(
            self.model, work, partial(batch.draw.pick, rows), self.budget, lead=batch.draw.lead
        )
        return work, against_itself(scores, self.want) if self.live is self.model else scores
