"""The models of a run: what is trained, what it is measured against, and what is saved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from pairkit.errors import ModelError
from pairkit.models.adapters import changes_one_use, merged, with_saved_adapters
from pairkit.models.new_tokens import fit_tokens, has_tokens
from pairkit.models.resolve import resolve
from pairkit.progress import log
from pairkit.schema import short_hash
from pairkit.training.distributed.processes import Processes
from pairkit.training.distributed.sharding import shard
from pairkit.training.kinds import KINDS
from pairkit.training.logprobs.compile import compile_layers
from pairkit.training.logprobs.probe import pad
from pairkit.training.lora import AdaptersOff, four_bits, with_adapters, without_packing
from pairkit.training.output.checkpoint import fill, trained
from pairkit.training.plan import Plan
from pairkit.training.recipe import TrainRecipe


def policy(plan: Plan, processes: Processes) -> nn.Module:
    """Load the model to train, with fresh adapters if the recipe has any, onto this process's device."""
    return _read(_policy(plan, processes), plan, processes)


def reference(plan: Plan, processes: Processes) -> nn.Module:
    """Load the reference model onto this process's device."""
    # Adapters that are continued are not merged, so that the first step starts from equal log-probs.
    if _continued(plan.recipe) and plan.recipe.model == plan.reference:
        return _read(_policy(plan, processes), plan, processes)
    name = plan.reference
    model = _load(plan.recipe, name, _vocabulary(plan, name), processes, plan.new_ids)
    return _read(model, plan, processes)


def running_reference(plan: Plan, model: nn.Module, processes: Processes) -> nn.Module:
    """Return the reference as it runs next to the policy `model`.

    Raises `ModelError` for one of another vocabulary: no divergence is defined.
    """
    if plan.recipe.adapters_off_is_reference:  # no second model is in memory then
        return AdaptersOff(model)
    live = reference(plan, processes).eval().requires_grad_(False)
    sizes = [_vocabulary_size(network) for network in (model, live)]
    if sizes[0] != sizes[1]:
        raise ModelError(
            f"the model has {sizes[0]} tokens and the reference {sizes[1]}, so that no divergence between "
            "them can be computed; use a reference of the same vocabulary, another loss, or record.kl=false"
        )
    return live


def _vocabulary_size(model: Any) -> int:
    return int(model.config.get_text_config().vocab_size)


def _read(model: nn.Module, plan: Plan, processes: Processes) -> nn.Module:
    """Place a model that was loaded, and check that its files are those that were hashed."""
    if processes.device.type == "cpu":
        # Its weights are the mapped files until a step writes to them: a file that is written to later would
        # change frozen ones, and one that is cut would end the process.
        _copy_storages(model)
    network = _placed(model, plan.recipe, processes)
    plan.unwritten.check()
    return network


def _copy_storages(model: nn.Module) -> None:
    """Give the numbers of a model memory of their own; tensors that share theirs still do."""
    copies: dict[int, Any] = {}
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():  # others are made by loading: packed weights, positions
            storage: Any = tensor.untyped_storage()
            if storage.data_ptr() not in copies:
                copies[storage.data_ptr()] = storage.clone()
            place = tensor.storage_offset(), tensor.size(), tensor.stride()
            copy = copies[storage.data_ptr()]
            tensor.data = torch.empty(0, dtype=tensor.dtype).set_(copy, *place)


def to_save(model: nn.Module, plan: Plan, processes: Processes) -> nn.Module:
    """Return the trained model in one piece, its adapters merged into full-precision weights if requested.

    Every process has to call it, because gathering a sharded model is collective; the first has the result.
    """
    lora = plan.recipe.lora
    merge = lora is not None and lora.merge
    # Merging into four bits would round the adapters away: they are put on a model loaded in full precision.
    if processes.sharded or (lora and lora.base and merge):
        weights = trained(model, processes)
        if processes.main:
            fill(model := _policy(plan, None), weights)
    # On the CPU, because there is more memory: the merge is in float32.
    return merged(model.cpu()) if merge and processes.main else model


def snapshot(model: nn.Module, plan: Plan, processes: Processes) -> nn.Module:
    """Return what `to_save` does while the model is trained on, which it leaves as it is; collective."""
    lora = plan.recipe.lora
    merge = lora is not None and lora.merge
    if not (processes.sharded or merge):
        return model
    weights = trained(model, processes)
    if not processes.main:
        return model
    fill(copy := _policy(plan, None), weights)
    return merged(copy) if merge else copy


def reference_key(plan: Plan) -> str:
    """Hash all that the reference's log-probs depend on besides the tokens; for the main process only."""
    recipe, name = plan.recipe, plan.reference
    revision = recipe.revision_of(name)
    # Hashes, not sizes and times, which copies and checkpoints of other weights may have too.
    weights = plan.content.get("reference", plan.content["model"])
    # Random weights are determined by the seed and the size of the vocabulary.
    scratch = [recipe.seed, len(plan.tokenizer)] if name.endswith(".json") else None
    # The rows of new tokens are a part of the model; a run without any keeps the key that it had.
    new_tokens = [recipe.seed, recipe.tokens.model_dump(mode="json")] if recipe.tokens else []
    precision = [recipe.dtype, recipe.bf16, *([_base(recipe, name)] if _base(recipe, name) else [])]
    return short_hash([name, revision, precision, weights, scratch, *new_tokens])


def start_model(
    recipe: TrainRecipe,
    vocabulary: int | None,
    processes: Processes | None = None,
    *,
    new_ids: Sequence[int] = (),
    tokenizer: Any,
) -> nn.Module:
    """Load the model that training starts from, with its adapters, on the CPU.

    Args:
        vocabulary: how many tokens it must have; a model from scratch gets as many.
        processes: those that train; None: the base model of adapters is loaded in full precision.
        new_ids: the tokens that the recipe adds.
        tokenizer: that of the run, for a model that has to know it.
    """
    kind = KINDS[recipe.trains]
    model = _load(recipe, recipe.model, vocabulary, processes, new_ids, last_adapters=not _continued(recipe))
    kind.finish(model, tokenizer, (recipe.max_length, recipe.max_prompt_length))
    if _continued(recipe):
        place = resolve(recipe.model, recipe.revision)
        return with_saved_adapters(model, place.top, revision=place.adapters_revision, train=True)
    if recipe.lora is None:
        return model
    peft_model = with_adapters(
        model, recipe.lora, recipe.seed, tokens=new_ids, task=kind.task, whole=kind.whole
    )
    if processes is not None and changes_one_use(peft_model):  # once, where training starts
        log(
            "embedding and output head are one matrix, and the adapters change one of its two uses, or each "
            "in its own way: a merged model gets two; lora.ensure_weight_tying=true keeps one"
        )
    return peft_model


def _policy(plan: Plan, processes: Processes | None) -> nn.Module:
    return start_model(
        plan.recipe,
        _vocabulary(plan, plan.recipe.model),
        processes,
        new_ids=plan.new_ids,
        tokenizer=plan.tokenizer,
    )


def _vocabulary(plan: Plan, name: str) -> int:
    """Return how many tokens a model must have, or gets if it starts from scratch."""
    # The data's tokens count, because some tokenizers have special tokens without an embedding.
    size = 1 + max(split.largest_id() for split in (plan.train, plan.held_out) if split)
    # The rows of new tokens are made after the model is loaded.
    return len(plan.tokenizer) if name.endswith(".json") else min([size, *plan.new_ids])


def _continued(recipe: TrainRecipe) -> bool:
    return recipe.lora is not None and recipe.lora.continue_adapters


def _base(recipe: TrainRecipe, name: str) -> str | None:
    """Return how the base model of the adapters is quantized; None for any other model."""
    return recipe.lora.base if recipe.lora and name == recipe.model else None


def _load(
    recipe: TrainRecipe,
    name: str,
    vocabulary: int | None,
    processes: Processes | None,
    new_ids: Sequence[int] = (),
    *,
    last_adapters: bool = True,
) -> nn.Module:
    """Load a model on the CPU; a quantized one on its device, because it is quantized there."""
    coarse = recipe.bf16 or recipe.dtype == "bfloat16"
    quantized = processes is not None and _base(recipe, name) is not None
    model = KINDS[recipe.trains].load(
        name,
        revision=recipe.revision_of(name),
        dtype=recipe.dtype,
        attention=recipe.attention,
        trust_remote_code=recipe.trust_remote_code,
        vocabulary=vocabulary,
        seed=recipe.seed,
        quantization=four_bits(torch.bfloat16 if coarse else torch.float32) if quantized else None,
        device=processes.device if processes else None,
        last_adapters=last_adapters,
    )
    if recipe.tokens and not name.endswith(".json") and not _has_tokens(recipe, name, new_ids):
        # A reference too, by the same rule: it scores texts that have these tokens, and the first step then
        # starts from the log-probs of the policy.
        fit_tokens(model, new_ids, recipe.tokens, recipe.seed)
    return without_packing(model) if quantized else model


def _has_tokens(recipe: TrainRecipe, name: str, new_ids: Sequence[int]) -> bool:
    """Return whether a reference has trained rows for the new tokens, as one of an earlier training has."""
    if recipe.tokens is None or name == recipe.model:
        return False
    revision, code = recipe.revision_of(name), recipe.trust_remote_code
    return has_tokens(name, new_ids, recipe.tokens, revision=revision, trust_remote_code=code)


def _placed(model: nn.Module, recipe: TrainRecipe, processes: Processes) -> nn.Module:
    """Move the model to this process's device, whole or in part, and set the precision of the recipe."""
    device = processes.device
    if recipe.bf16:  # not by Accelerator, because its precision holds for the whole process
        model.forward = torch.autocast(device.type, torch.bfloat16)(model.forward)
    # Before sharding, because FSDP's hooks around a layer must stay outside of the compiled code.
    if recipe.compile:
        compile_layers(model)
    model = shard(model, processes, bf16=recipe.bf16) if processes.sharded else model.to(device)
    if not recipe.share_prompts:
        pad(model)
    return model
