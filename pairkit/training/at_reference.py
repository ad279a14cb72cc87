"""Whether a run begins at its reference: then the policy's own pass gives the reference's log-probs too."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn

from pairkit.training.distributed.processes import Processes
from pairkit.training.logprobs.same_model import adds_nothing, agrees, same_checkpoint
from pairkit.training.output.start import model_before
from pairkit.training.plan import Plan
from pairkit.training.recipe import TrainRecipe
from pairkit.training.step.examples import Split
from pairkit.training.step.learning_rate import first_update


def precision(recipe: TrainRecipe) -> torch.dtype:
    """Return what the models compute in."""
    return torch.bfloat16 if recipe.bf16 or recipe.dtype == "bfloat16" else torch.float32


def starts_at_reference(model: nn.Module, plan: Plan, split: Split, processes: Processes) -> bool:
    """Tell whether the policy, with the weights that it has at the run's first step, is the reference."""
    recipe, order = plan.recipe, plan.order
    # A copy of the base model is loaded in full precision, whatever the adapters' base is.
    if recipe.lora is not None and recipe.lora.base is not None and plan.reference != recipe.model:
        return False
    moved = order.first > first_update(recipe.optimizer, order.whole)  # by the segments before
    if not (_is_saved_start(model, plan) if moved else _is_first_model(model, plan)):
        return False
    if split.reference is None:  # no reference, or one that runs next to the policy
        return True
    rows = order.step_sets(order.first)
    sums = [split.reference[i] for i in rows]
    sets = [plan.examples[i] for i in rows]
    same = agrees(model, sets, sums, precision(recipe), recipe.tokens_per_micro_batch)
    # Agreed on by all, because a process that scored a reference of its own would make other passes.
    return not processes.any(not same)


def _is_first_model(model: nn.Module, plan: Plan) -> bool:
    """Tell whether the reference is the model of the recipe, with the adapters that training begins with."""
    recipe = plan.recipe
    if not same_checkpoint(recipe.model, plan.reference, revision=recipe.revision):
        return False
    # Adapters that are continued are a part of the reference.
    continued = recipe.lora is not None and recipe.lora.continue_adapters
    return continued or adds_nothing(model)


def _is_saved_start(model: nn.Module, plan: Plan) -> bool:
    """Tell whether the reference is the model that the segment before has saved, unrounded."""
    before = model_before(plan.segment) if plan.segment else None
    reference = Path(plan.reference)
    if before is None or not before.is_dir() or not reference.is_dir():
        return False
    return before.samefile(reference) and not _rounds(model, before)


def _rounds(model: nn.Module, folder: Path) -> bool:
    """Tell whether the weights of a saved model are coarser than those that are trained."""
    exact = {"F32"}
    if all(p.dtype == torch.bfloat16 for p in model.parameters() if p.requires_grad):
        exact.add("BF16")
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            if {file.get_slice(name).get_dtype() for name in file.keys()} - exact:  # noqa: SIM118
                return True
    return False
