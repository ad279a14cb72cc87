"""What a dry run says besides the plan: the model, whether prompts are shared, the memory that it takes."""

from __future__ import annotations

from typing import Any

from torch import nn

from pairkit.models.load import empty_model
from pairkit.training.cost.memory import Footprint, MicroBatchSize, footprint, here
from pairkit.training.cost.operations import Load
from pairkit.training.logprobs.probe import static_refusal
from pairkit.training.logprobs.selection import PER_TOKEN
from pairkit.training.lora import with_adapters
from pairkit.training.plan import Plan


def estimate(planned: Plan) -> dict[str, Any]:
    """The plan and all that a model without weights says, as plain data.

    Raises:
        ModelError: a configuration that no model can be made of.
    """
    model = _empty(planned, planned.recipe.model)
    reason = static_refusal(model) if planned.recipe.share_prompts else "share_prompts is false"
    found = planned.describe(shared=reason is None)
    parameters = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "trained": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "prompts": "shared" if reason is None else f"repeated: {reason}",
    }
    memory = memory_of(planned, model, shared=reason is None)
    return {**found, "parameters": parameters, "memory_mib": {"device": here(), **memory.describe()}}


def memory_of(planned: Plan, model: nn.Module, *, shared: bool) -> Footprint:
    """The memory of a run with this model, which has no weights."""
    recipe, needs = planned.recipe, planned.loss.needs
    parts = [part for step in planned.first_steps(shared=shared) for part in step.micro_batches]
    largest = max((_passed(part, shared=shared) for part in parts), key=lambda one: one.tokens)
    live = None
    if "token_kl" in needs and (recipe.lora is None or recipe.reference is not None):
        live = _empty(planned, recipe.reference or recipe.model, policy=False)
    return footprint(model, live, recipe, largest, plain=not needs & PER_TOKEN, device=here())


def _passed(part: Load, *, shared: bool) -> MicroBatchSize:
    rows = [stop for start, stop in part.spans if start]  # ends of completions
    if shared:
        return MicroBatchSize(part.tokens, sum(stop for _, stop in part.spans), part.predicted)
    padded = len(rows) * max(rows)
    return MicroBatchSize(padded, padded, part.predicted)


def _empty(planned: Plan, name: str, *, policy: bool = True) -> nn.Module:
    recipe = planned.recipe
    model = empty_model(
        name,
        revision=recipe.revision_of(name),
        dtype=recipe.dtype,
        trust_remote_code=recipe.trust_remote_code,
        vocabulary=len(planned.tokenizer) if name.endswith(".json") else None,
    )
    return with_adapters(model, recipe.lora, recipe.seed) if policy and recipe.lora else model
