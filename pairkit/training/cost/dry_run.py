"""What a dry run prints besides the plan: the model, whether prompts are shared, the estimated memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from pairkit.models.adapters import fresh_copy
from pairkit.models.resolve import resolve
from pairkit.training.cost.loads import StepLoad, first_steps
from pairkit.training.cost.memory import Footprint, MicroBatchSize, device_type, footprint
from pairkit.training.cost.operations import TokenLoad
from pairkit.training.cost.report import report
from pairkit.training.logprobs.selection import PER_TOKEN
from pairkit.training.lora import with_adapters
from pairkit.training.plan import Plan


def estimate(plan: Plan) -> dict[str, Any]:
    """Describe the plan and all that is known of a model without weights, as plain data.

    Raises:
        ModelError: no model can be made from the configuration.
    """
    model = _empty(plan, plan.recipe.model)
    reason = plan.kind.refusal(model) if plan.recipe.share_prompts else "share_prompts is false"
    parameters = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "trained": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "prompts": "shared" if reason is None else f"repeated: {reason}",
    }
    steps = first_steps(plan, shared=reason is None)
    memory = estimate_memory(plan, model, shared=reason is None, steps=steps)
    return {
        **report(plan, steps),
        "parameters": parameters,
        "memory_mib": {"device": device_type(), **memory.in_mib()},
    }


def estimate_memory(
    plan: Plan, model: nn.Module, *, shared: bool, steps: Sequence[StepLoad] | None = None
) -> Footprint:
    """Estimate the memory of a run with this model, which has no weights; `steps` are its first ones."""
    recipe, needs = plan.recipe, plan.loss.needs
    steps = first_steps(plan, shared=shared) if steps is None else steps
    loads = [part for step in steps for part in step.micro_batches]
    # The peak is that of the largest micro-batch, because each is freed before the next.
    largest = max((_size(load, shared=shared) for load in loads), key=lambda size: size.tokens)
    live = None
    # Adapters switched off are the policy itself and take no memory of their own.
    if ("token_kl" in needs or recipe.record.kl) and not recipe.adapters_off_is_reference:
        live = _empty(plan, plan.reference, policy=False)
    return footprint(model, live, recipe, largest, plain=not needs & PER_TOKEN, device=device_type())


def _size(load: TokenLoad, *, shared: bool) -> MicroBatchSize:
    rows = [stop for start, stop in load.spans if start]  # lengths of the padded rows: ends of completions
    if shared:
        return MicroBatchSize(load.tokens, sum(stop for _, stop in load.spans), load.predicted)
    total = len(rows) * max(rows)  # tokens and padding: both have activations
    return MicroBatchSize(total, total, load.predicted)


def _empty(plan: Plan, name: str, *, policy: bool = True) -> nn.Module:
    recipe = plan.recipe
    kind = plan.kind
    model = kind.empty(
        name,
        revision=recipe.revision_of(name),
        dtype=recipe.dtype,
        trust_remote_code=recipe.trust_remote_code,
        vocabulary=len(plan.tokenizer) if name.endswith(".json") else None,
    )
    place = resolve(name, recipe.revision_of(name))
    if recipe.lora and recipe.lora.continue_adapters and place.adapters:
        return fresh_copy(model, place.top, revision=place.adapters_revision)
    if not (policy and recipe.lora):
        return model
    return with_adapters(model, recipe.lora, recipe.seed, task=kind.task, whole=kind.whole)
