"""What a step passes through the model, known from the data before there is one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import mean
from typing import Any, NamedTuple

from pairkit.losses import Loss, WeightedSum
from pairkit.losses.sampling import NEEDS_POLICY
from pairkit.training.cost.operations import Load, load
from pairkit.training.logprobs.selection import SetSelection, micro_batches
from pairkit.training.recipe import TrainRecipe
from pairkit.training.step.batch import draws_within
from pairkit.training.step.examples import mismatch
from pairkit.training.step.negatives import draws, longest
from pairkit.training.step.objective import observes
from pairkit.training.step.order import step_sets
from pairkit.training.tokens.sets import TokenSet

COUNTED = 50  # steps, the first ones: others are drawn from the same sets


class Step(NamedTuple):
    """The passes of one step; of what is drawn under the policy or at random the longest that can be.

    Attributes:
        shared, repeated: what passes with gradient, a prompt once for all its completions, or with each.
        scored: what passes without gradient.
        micro_batches: of the gradient passes, as they are packed or padded.
    """

    shared: Load
    repeated: Load
    scored: Load
    micro_batches: list[Load]


def steps_of(
    recipe: TrainRecipe,
    loss: Loss | WeightedSum,
    negatives: Mapping[str, Any],
    sets: Sequence[TokenSet],
    steps: int,
    *,
    shared: bool,
) -> Iterator[Step]:
    """The first steps of a run on these sets.

    Args:
        shared: whether a set's prompt passes once.
    """
    others = None
    if "kl_baseline" in loss.needs:
        others = mismatch(sets, seed=recipe.seed, max_length=recipe.max_length)
    columns = slice(1) if loss.completions == "first" else slice(None)
    for number in range(min(steps, COUNTED)):
        rows = step_sets(
            len(sets), number, recipe.sets_per_step, recipe.epochs, recipe.max_steps, recipe.seed
        )
        every = [SetSelection(sets[i], tuple(range(len(sets[i].columns)))[columns]) for i in rows]
        taken = longest(every, negatives) if draws(loss, negatives, every) else every
        scored = _scored(loss, negatives, every, taken, shared=shared)
        if others:
            behind = [SetSelection(others[i], tuple(range(len(others[i].columns)))) for i in rows]
            scored += load(behind, shared=shared)
        groups = micro_batches(taken, recipe.tokens_per_micro_batch, shared=shared)
        parts = [load([taken[i] for i in group], shared=shared) for group in groups]
        yield Step(load(taken), load(taken, shared=False), scored, parts)


def describe(found: Sequence[Step]) -> dict[str, Any]:
    """Means over some steps, as plain data."""
    counts = [len(step.micro_batches) for step in found]
    return {
        "tokens_shared": round(mean(step.shared.tokens for step in found)),
        "tokens_repeated": round(mean(step.repeated.tokens for step in found)),
        "scored_tokens": round(mean(step.scored.tokens for step in found)),
        "micro_batches": {"mean": round(mean(counts), 1), "most": max(counts)},
        "largest_micro_batch": max(part.tokens for step in found for part in step.micro_batches),
    }


def _scored(
    loss: Loss | WeightedSum,
    negatives: Mapping[str, Any],
    every: Sequence[SetSelection],
    taken: Sequence[SetSelection],
    *,
    shared: bool,
) -> Load:
    """As `batch.prepare` does: within the gradient passes, or before them."""
    if shared and draws_within(loss, negatives, every) is not None:
        return load([SetSelection(one.tokens, one.columns[1:]) for one in every], prompts=False)
    if draws(loss, negatives, every) and negatives["sampling"] in NEEDS_POLICY:
        return load(every, shared=shared)
    if any(observes(part, "batch") for _, part in loss.parts):
        return load(taken, shared=shared)
    return load([])
