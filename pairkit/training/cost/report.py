"""The plan of a run as plain data: what `run.json` holds and `--dry-run` prints."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import Any

from pairkit.training.cost.loads import StepLoad, first_steps
from pairkit.training.cost.warnings import warnings
from pairkit.training.pairrm.pairs import RankedPairs
from pairkit.training.plan import Plan
from pairkit.training.step.pairs import pair_tokens


def report(plan: Plan, steps: Sequence[StepLoad] | None = None) -> dict[str, Any]:
    """Describe the plan of a run.

    `steps` are those taken at its end, also those of segments before it.
    `longest` is a prompt with its completion, `a_step` the mean of prompts and completions, each once;
    `earlier_turns` are tokens of prompts that count for a part of a sum.
    `step` holds means over the first steps: tokens that pass with gradient, a prompt once for all its
    completions or with each, and without one; and the micro-batches of one process. `truncation` is by split.

    Args:
        steps: the first ones; by default as if the model shares prompts where the recipe asks for that.
    """
    if steps is None:
        steps = first_steps(plan, shared=plan.recipe.share_prompts and plan.kind.pairs is None)
    recipe, order, train, held_out = plan.recipe, plan.order, plan.train, plan.held_out
    # Tokens of all sets, each prompt and each completion once.
    prompt, completion = int(train.lengths.prompt.sum()), int(train.lengths.completion.sum())
    # Of all examples: a prompt and its chosen completion again in each pair where pairs are the examples.
    pairs = plan.examples if isinstance(plan.examples, RankedPairs) else None
    examples = pair_tokens(train.lengths) if recipe.expand else prompt + completion
    if pairs is not None:
        examples = pairs.tokens()
    alone = recipe.expand or pairs is not None  # whether each pair is an example
    total_examples = order.sets_before(order.end)  # examples of the whole run, again in each epoch
    return {
        "data": {"folder": str(plan.data.folder), "manifest_sha256": plan.data.digest},
        "model": recipe.model,
        "loss": plan.loss.describe(),
        "negatives": {} if plan.loss.completions == "first" or alone else plan.negatives,
        "steps": order.end,
        "train_sets": train.counts() | ({"pairs": len(plan.examples)} if alone else {}),
        "eval_sets": held_out.counts() if held_out else None,
        "tokens": {
            "prompt": prompt,
            "completion": completion,
            "longest": plan.longest,
            "a_step": round(examples / len(plan.examples) * total_examples / order.step_count),
            **({"earlier_turns": turns} if (turns := train.turn_tokens()) else {}),
        },
        "warnings": list(warnings(plan)),
        "truncation": {name: cut.plain() for name, cut in plan.truncation().items()},
        "step": _means(steps),
    }


def _means(steps: Sequence[StepLoad]) -> dict[str, Any]:
    """Average some steps."""
    counts = [len(step.micro_batches) for step in steps]  # per step, of one process
    return {
        "tokens_shared": round(mean(step.shared.tokens for step in steps)),
        "tokens_repeated": round(mean(step.repeated.tokens for step in steps)),
        "scored_tokens": round(mean(step.scored.tokens for step in steps)),
        "micro_batches": {"mean": round(mean(counts), 1), "most": max(counts)},
        "largest_micro_batch": max(part.tokens for step in steps for part in step.micro_batches),
    }
