"""How many tokens each step will run through the model, computed before the model is loaded."""

from __future__ import annotations

from typing import NamedTuple

from pairkit.training.cost.operations import TokenLoad, draw_load, token_load
from pairkit.training.logprobs.selection import SetSelection, micro_batches
from pairkit.training.plan import Plan
from pairkit.training.step.examples import mismatch
from pairkit.training.step.negatives import longest
from pairkit.training.step.pairs import PairSets
from pairkit.training.step.passes import step_passes, usable_completions

COUNTED = 50  # steps, the first ones, because later ones take the same sets


class StepLoad(NamedTuple):
    """The tokens of one step; of negatives drawn by the policy or at random, the longest ones possible.

    Attributes:
        shared, repeated: those that pass with gradient, a prompt once for all its completions, or with each.
        scored: those that pass without gradient.
        micro_batches: of the gradient passes, as they are packed or padded.
    """

    shared: TokenLoad
    repeated: TokenLoad
    scored: TokenLoad
    micro_batches: list[TokenLoad]


def first_steps(plan: Plan, *, shared: bool) -> list[StepLoad]:
    """Count the first steps of a run.

    Args:
        shared: whether a set's prompt passes once for all its completions.
    """
    recipe, loss, negatives = plan.recipe, plan.loss, plan.negatives
    sets = plan.examples
    others = None
    if "kl_baseline" in loss.needs:
        others = mismatch(plan.train.sets, seed=recipe.seed, max_length=recipe.max_length)
        others = sets.of_sets(others) if isinstance(sets, PairSets) else others
    steps = []
    # The loop's own functions decide, so that the estimate cannot differ from the run.
    order = plan.order
    for number in range(order.first, min(order.end, order.first + COUNTED)):
        rows = order.step_sets(number)
        usable = usable_completions(loss, (sets[i] for i in rows))
        balanced = recipe.router_aux_loss is not None
        passes = step_passes(loss, negatives, usable, shared=shared and not balanced)
        # What is drawn depends on the policy, so the longest possible draw is counted.
        selection = longest(usable, negatives) if passes.draws else usable
        if passes.in_pass is not None:
            scoring_load = draw_load(usable, lead=passes.in_pass.lead)
        else:
            scoring_load = token_load(passes.scored(usable, selection), shared=shared)
        if passes.mismatched and others:
            scoring_load += token_load([SetSelection.all(others[i]) for i in rows], shared=shared)
        if balanced:
            scoring_load += token_load(selection, shared=shared)
        groups = micro_batches(selection, recipe.tokens_per_micro_batch, shared=shared)
        parts = [token_load([selection[i] for i in group], shared=shared, turns=True) for group in groups]
        once, repeated = (token_load(selection, shared=each, turns=True) for each in (True, False))
        steps.append(StepLoad(once, repeated, scoring_load, parts))
    return steps
