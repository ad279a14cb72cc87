"""The learning rate of each step, a function of its number, and the default that fits what is trained."""

from __future__ import annotations

import math

from pairkit.training.step.optimizer import Optimizer

# The alignment handbook's recipes of Zephyr, huggingface/alignment-handbook, `recipes/zephyr-7b-beta`:
# dpo/config_full.yaml, dpo/config_qlora.yaml, sft/config_full.yaml, sft/config_qlora.yaml. Ten times as much
# for adapters is also what "LoRA Without Regret" (Schulman et al. 2025) finds.
PREFERENCE, PREFERENCE_ADAPTERS = 5e-7, 5e-6
LIKELIHOOD, LIKELIHOOD_ADAPTERS = 2e-5, 2e-4
# Llama's own, of its smaller models (Touvron et al. 2023, arXiv 2302.13971, Table 2).
FROM_SCRATCH = 3e-4

# Llama 2's reward models but the largest (Touvron et al. 2023, arXiv 2307.09288, section 3.2.2).
REWARD, REWARD_ADAPTERS = 1e-5, 1e-4

FEW = 20  # steps, below which a schedule has no room: its warm-up is two steps or fewer


def default_rate(*, adapters: bool, likelihood: bool, scratch: bool, reward: bool = False) -> float:
    """Choose the peak learning rate by what is trained.

    Args:
        adapters: whether only adapters are trained.
        likelihood: whether the loss has no negatives.
        scratch: whether training starts from random weights.
        reward: whether a reward model is trained.
    """
    if scratch:
        return FROM_SCRATCH
    if reward:
        return REWARD_ADAPTERS if adapters else REWARD
    if likelihood:
        return LIKELIHOOD_ADAPTERS if adapters else LIKELIHOOD
    return PREFERENCE_ADAPTERS if adapters else PREFERENCE


def warmup_steps(settings: Optimizer, steps: int) -> int:
    """Return how many of all `steps` warm up; the rate is at its peak in the step after them."""
    return round(settings.warmup * steps)


def learning_rate(settings: Optimizer, step: int, steps: int) -> float:
    """Compute the rate of step `step` (from 0) of `steps`.

    Equal, bit by bit, to transformers' `get_scheduler`, whose import takes seconds. A function of the step
    alone, so that a checkpoint needs no state of it and a run may resume with another number of steps.
    """
    assert settings.learning_rate is not None, "the recipe has replaced null"
    warmup = warmup_steps(settings, steps)
    if step < warmup:
        return settings.learning_rate * (float(step) / float(max(1, warmup)))
    if settings.schedule == "constant":
        return settings.learning_rate
    rest = float(max(1, steps - warmup))
    if settings.schedule == "linear":
        share = max(0.0, float(steps - step) / rest)
    else:
        progress = float(step - warmup) / rest
        share = max(0.0, 0.5 * (1.0 + math.cos(math.pi * 0.5 * 2.0 * progress)))
    return settings.learning_rate * share


def first_update(settings: Optimizer, steps: int, first: int = 0) -> int:
    """Return the first step from `first` on that moves weights: the first rate of a warm-up is 0."""
    return next((step for step in range(first, steps) if learning_rate(settings, step, steps) > 0), steps)


def too_few(settings: Optimizer, steps: int, sets: int, sets_per_step: int, *, chosen: bool) -> str | None:
    """Describe a run whose steps are too few for its data or its schedule; None for any other.

    Args:
        sets: those of the whole run; one that is taken again in another epoch counts again.
        chosen: whether the number of steps was set, and so is meant.
    """
    if warmup_steps(settings, steps) >= steps:
        return (
            f"warm-up takes all of the {steps} optimizer steps (optimizer.warmup={settings.warmup}): the "
            "rate never reaches its peak; lower optimizer.warmup"
        )
    if chosen or steps >= FEW:
        return None
    count = "only 1 optimizer step" if steps == 1 else f"only {steps} optimizer steps"
    fewer = max(1, sets // FEW)
    remedy = "more --epochs make more"
    if fewer < sets_per_step:
        remedy = f"--sets-per-step {fewer} makes {math.ceil(sets / fewer)}; {remedy} too"
    return f"{count} ({sets:,} sets, {sets_per_step} per step); {remedy}"
