"""What an evaluation would ask, before anything is asked: calls, tokens and cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pairkit.engines.recipe import CallSettings

# Of English text in usual tokenizers; the exact number would need the model's own.
CHARACTERS_PER_TOKEN = 4


class Planned(NamedTuple):
    """The calls of one step; the tokens of prompts are an estimate, those of completions a limit.

    Each call is made up to `attempts` times, while a verdict cannot be read.
    """

    model: str
    calls: int
    prompt_tokens: int
    completion_tokens: int
    attempts: int = 1


def planned(model: str, prompts: Sequence[int], max_tokens: Sequence[int], attempts: int = 1) -> Planned:
    """Plan one call per prompt, from the lengths of prompts in characters and the limits of completions."""
    return Planned(model, len(prompts), sum(prompts) // CHARACTERS_PER_TOKEN, sum(max_tokens), attempts)


def describe_plan(steps: Mapping[str, Planned], calls: CallSettings) -> dict[str, Any]:
    """Return the steps for a person, each with the most that it costs where the model's price is known.

    Repeats of verdicts that cannot be read stand beside it. What is stored is not looked up: an evaluation
    that continues asks less.
    """
    described: dict[str, Any] = {}
    for name, step in steps.items():
        described[name] = {
            "model": step.model,
            "calls": step.calls,
            "prompt_tokens": f"about {step.prompt_tokens:,}",
            "completion_tokens": f"at most {step.completion_tokens:,}",
        }
        if price := calls.prices.get(step.model):
            cost = (price.input * step.prompt_tokens + price.output * step.completion_tokens) / 1e6
            described[name]["cost"] = f"at most about {cost:,.2f}"
        if step.attempts > 1:
            described[name]["with_repeats"] = (
                f"up to {step.attempts * step.calls:,} calls, {step.attempts} times the tokens and cost, if "
                "no verdict can be read"
            )
        described[name]["stored"] = "counted here, but not asked again"
    return described
