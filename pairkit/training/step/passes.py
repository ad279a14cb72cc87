"""Which passes a step makes besides its gradient passes; decided here once, for runs and estimates.

| a step needs to know                                    | pass                                             |
| ------------------------------------------------------- | ------------------------------------------------ |
| nothing of the current policy                           | none                                             |
| log-probs to draw negatives by, and nothing else        | none of its own: the gradient pass draws         |
| log-probs to draw negatives by, and of the whole batch  | a scoring pass of all completions                |
| log-probs of the whole batch (statistics)               | a scoring pass of the selected completions       |
| the reference point of kto                              | a scoring pass of prompts with other completions |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from pairkit.losses import Loss, WeightedSum
from pairkit.losses.sampling import NEEDS_POLICY
from pairkit.training.logprobs.selection import PER_TOKEN, SetSelection
from pairkit.training.step.negatives import draws, longest
from pairkit.training.step.objective import observes, unobserved
from pairkit.training.step.term_weights import fixed_weights
from pairkit.training.tokens.token_set import TokenSet


class DrawInPass(NamedTuple):
    """A draw that micro-batches make for themselves.

    Attributes:
        longest: the most tokens that it can take of each set; sizes of micro-batches go by it.
        weights: the sum of each term's weights over the batch, whatever is drawn.
        lead: whether the draw has to know the log-prob of completion 0.
    """

    longest: list[SetSelection]
    weights: list[float]
    lead: bool


class StepPasses(NamedTuple):
    """The passes of one step.

    Attributes:
        draws: whether the step chooses among the completions; without a choice it takes all of them.
        in_pass: how the gradient passes draw for themselves; None where they do not.
        scoring: what a scoring pass before the gradient passes covers.
        statistics: what that pass has to give besides sums.
        observes: whether the scored batch is shown to a loss that keeps statistics.
        mismatched: whether prompts with completions of other prompts are scored too.
    """

    draws: bool
    in_pass: DrawInPass | None
    scoring: Literal["all", "selected", None]
    statistics: frozenset[str]
    observes: bool
    mismatched: bool

    def scored(
        self, usable: Sequence[SetSelection], selection: Sequence[SetSelection]
    ) -> Sequence[SetSelection]:
        """Choose what the scoring pass covers, given all usable completions and the selected ones."""
        return usable if self.scoring == "all" else selection if self.scoring == "selected" else []


def usable_completions(loss: Loss | WeightedSum, sets: Iterable[TokenSet]) -> list[SetSelection]:
    """Select what a loss can use of each set: the preferred completion alone, or all of them."""
    columns = slice(1) if loss.completions == "first" else slice(None)
    return [SetSelection(item, tuple(range(len(item.columns)))[columns]) for item in sets]


def step_passes(
    loss: Loss | WeightedSum,
    negatives: Mapping[str, Any],
    usable: Sequence[SetSelection],
    *,
    shared: bool,
) -> StepPasses:
    """Decide the passes of a step on these sets.

    Args:
        negatives: every setting of the sampler.
        usable: the batch's sets with all completions that the loss can use.
        shared: whether a prompt passes once for all completions of its set, as it does where models pack.
    """
    # kto is not among them: it observes other texts, in a pass of their own.
    observers = [part for _, part in loss.parts if observes(part, "batch")]
    choice = draws(loss, negatives, usable)
    # Other samplers need no log-probs, and without a choice there is nothing to draw.
    by_policy = choice and negatives["sampling"] in NEEDS_POLICY
    in_pass = draw_in_pass(loss, negatives, usable) if shared and by_policy and not observers else None
    scoring: Literal["all", "selected", None] = "selected" if observers else None
    if by_policy:  # its numbers serve the statistics too
        scoring = "all" if in_pass is None else None
    return StepPasses(
        draws=choice,
        in_pass=in_pass,
        scoring=scoring,
        # Sums come with every pass; the rest is computed only for those that observe it.
        statistics=frozenset[str]().union(*(part.needs for part in observers)) & PER_TOKEN,
        observes=bool(observers),
        mismatched="kl_baseline" in loss.needs,
    )


def draw_in_pass(
    loss: Loss | WeightedSum, negatives: Mapping[str, Any], usable: Sequence[SetSelection]
) -> DrawInPass | None:
    """Plan a draw under the policy within the gradient passes; None where the batch has to be scored first.

    A micro-batch sees its own sets only. So all that the draw may change of the whole batch has to be known
    before: the weights of the terms must not depend on which completions are drawn. And the log-probs that it
    draws by are sums that the packed pass makes on its way, nothing per token.
    """
    # A set of one completion has no rest to be scored on its prompt.
    if min(len(item.columns) for item in usable) == 1 or loss.needs & PER_TOKEN:
        return None
    most = longest(usable, negatives)
    weights = fixed_weights(loss, most, unobserved(loss))  # one number per term
    return None if weights is None else DrawInPass(most, weights, bool(negatives["include_chosen"]))
