"""What an evaluation would ask, before anything is asked: calls, tokens and cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pairkit.engines.recipe import CallSettings

# Of English text in usual tokenizers; the exact number would need the model's own.
CHARACTERS_PER_TOKEN = 4


class Planned(NamedTuple):
    """The calls of one step; the tokens of prompts are an estimate, those of completions a limit."""

    model: str
    calls: int
    prompt_tokens: int
    completion_tokens: int


def planned(model: str, prompts: Sequence[int], max_tokens: Sequence[int]) -> Planned:
    """Plan one call per prompt, from the lengths of prompts in characters and the limits of completions."""
    return Planned(model, len(prompts), sum(prompts) // CHARACTERS_PER_TOKEN, sum(max_tokens))


def describe_plan(steps: Mapping[str, Planned], calls: CallSettings) -> dict[str, Any]:
    """Return the steps for a person, each with the most that it costs where the model's price is known."""
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
    return described
