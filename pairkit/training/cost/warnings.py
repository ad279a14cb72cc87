"""What a person should know of a plan before it costs anything: too few steps, labels out of balance."""

from __future__ import annotations

from collections.abc import Iterator

from pairkit.dataset.scales import differ
from pairkit.losses import Loss
from pairkit.training.plan import Plan
from pairkit.training.step.learning_rate import too_few

# Of w_D n_D to w_U n_U: the range in which KTO's authors found that it works (Ethayarajh et al. 2024,
# arXiv 2402.01306v1).
LEAST, MOST = 1.0, 4 / 3


def warnings(planned: Plan) -> Iterator[str]:
    """Yield one line per thing that is probably not meant."""
    order, recipe = planned.order, planned.recipe
    few = too_few(
        recipe.optimizer,
        order.whole,
        order.sets_before(order.end),
        recipe.sets_per_step,
        chosen=recipe.max_steps is not None,
    )
    if few:
        yield few
    if planned.shared_prompts:
        yield (
            f"{planned.shared_prompts:,} held-out prompts are trained on as well, of another dataset, which "
            "makes their evaluation useless; build the datasets with one test_fraction"
        )
    if differ(planned.scales):
        yield (
            f"{planned.loss.name} reads scores, whose scales differ: {', '.join(map(str, planned.scales))}; "
            "rank all of the data with one ranker, or use a loss that reads ranks only, such as dpo"
        )
    desirable, undesirable = planned.train.labels()
    pairs = len(planned.train.sets) - desirable - undesirable
    for _, part in planned.loss.parts:
        if "desirable_weight" in part.parameters and undesirable + desirable:
            key = "loss" if len(planned.loss.parts) == 1 else f"loss.{part.name}"
            yield from imbalance(part, desirable + pairs, undesirable + pairs, key)


def imbalance(part: Loss, desirable: int, undesirable: int, key: str) -> Iterator[str]:
    """Describe that the labels of KTO are out of balance, with the weights that balance them.

    Args:
        desirable, undesirable: numbers of completions; a pair has one of each.
        key: of the loss's keywords on a command line.
    """
    if not (desirable and undesirable):
        kind = "desirable" if desirable else "undesirable"
        yield (
            f"{part.name}: all completions are {kind}; it compares both kinds and needs some of the other one"
        )
        return
    good, bad = (part.parameters[f"{name}_weight"] for name in ("desirable", "undesirable"))
    if not good or not bad:
        return  # one side is turned off, which is meant
    ratio = good * desirable / (bad * undesirable)
    # With room for rounding: weights that were printed here with three digits are in range.
    if LEAST * 0.99 <= ratio <= MOST * 1.01:
        return
    # What is lowered is the side that has too much, because weights above 1 raise the learning rate.
    if ratio > MOST:
        advice = f"--{key}.desirable_weight {bad * undesirable * MOST / desirable:.3g}"
    else:
        advice = f"--{key}.undesirable_weight {good * desirable / undesirable:.3g}"
    yield (
        f"{part.name}: {desirable:,} desirable and {undesirable:,} undesirable completions, weighted "
        f"{ratio:.3g} to 1; set {advice} to bring it between 1 to 1 and 4 to 3"
    )
