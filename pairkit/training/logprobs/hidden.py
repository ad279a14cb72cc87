"""The states that a model's output head would read, and the head itself, from one ordinary call of the model.

A hook on the head records its input and lets it see one position only, so that `[tokens, vocabulary]` is
never made. What the model then does with the head's output (scale, softcap) is read from its configuration
and checked against that one position: a model is never trusted to be what its configuration suggests.

Shapes: T completion tokens, E hidden width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from pairkit.progress import warn
from pairkit.training.logprobs.head import Head, Hidden
from pairkit.training.logprobs.padding import ModelInputs

FACTORS = ("logit_scale", "logits_scaling", "lm_head_multiplier")  # some models multiply by it, some divide
Final = tuple[float, float | None]  # scale, softcap
_final_steps: WeakKeyDictionary[nn.Module, Final | None] = WeakKeyDictionary()  # None: not a plain head


def head_of(model: nn.Module) -> tuple[nn.Module, nn.Module | None]:
    """Return the model of transformers inside `model`, whatever wraps it, and its output head.

    That of a reward model is the layer that makes the reward of a state.
    """
    for module in model.modules():
        get = getattr(module, "get_output_embeddings", None)
        head = get() if get else None
        if not isinstance(head, nn.Module):
            head = reward_head(module)
        if head is not None:
            return module, head
    return model, None


def reward_head(module: nn.Module) -> nn.Module | None:
    """Return the head of a sequence-classification model, below what adapters wrap it in; None for others."""
    if not type(module).__name__.endswith("ForSequenceClassification"):
        return None
    head: Any = getattr(module, "score", None)
    copies = getattr(head, "modules_to_save", None)  # of peft: the one in use is trained and saved as a whole
    active_head: nn.Module | None = head if copies is None else copies[head.active_adapters[0]]
    return active_head


def class_name(model: nn.Module) -> str:
    """Return the class of the language model inside `model`, below adapters too."""
    owner = head_of(model)[0]
    below = getattr(owner, "get_base_model", None)  # of peft, which passes everything else through
    return type(below() if below else owner).__name__


def hidden_states(model: nn.Module, inputs: ModelInputs, earlier: Tensor | None = None) -> Hidden | None:
    """Run the model and return the states that predict the completion tokens, `[T, E]`, and the head.

    Args:
        earlier: `[states, E]` of an earlier call, which `inputs.predictors` counts before this one's.

    Returns:
        None for a model whose logits are not those of a plain head; that is printed once per model.
    """
    owner, module = head_of(model)
    rewards = reward_head(owner) is not None
    if type(module) is not nn.Linear:  # an adapter's or a quantized head computes something else
        _remember(owner, None)
        return None
    if owner in _final_steps and _final_steps[owner] is None:
        return None
    head_inputs: list[Tensor] = []
    precisions: list[torch.dtype] = []

    def record(_: nn.Module, arguments: tuple[Any, ...]) -> tuple[Tensor] | None:
        # The states of all positions, `[batch, positions, E]`; the head itself then gets one.
        head_inputs.append(arguments[0])
        device = arguments[0].device.type
        # Asked here, inside the model, because autocast may cover its call alone; the states do not tell, as
        # a norm returns float32.
        autocast = torch.is_autocast_enabled(device)
        precisions.append(torch.get_autocast_dtype(device) if autocast else arguments[0].dtype)
        # Not of a reward model, which looks up the last position of what its one row per state gives.
        return None if rewards else (head_inputs[-1][:1, :1],)

    handle = module.register_forward_pre_hook(record)
    try:
        logits = model(**arguments_of(model, inputs)).logits  # [1, 1, V]
    finally:
        handle.remove()
    if owner not in _final_steps:
        # What a reward model makes of its head's output is compared by `reward.check`, on texts of the run.
        _remember(owner, (1.0, None) if rewards else _final_step(owner, module, head_inputs, logits))
    final = _final_steps[owner]
    if final is None:
        return None
    head = Head(module.weight, module.bias, *final)
    # bfloat16 autocast covers the model's call but not the product made of these states later, whose factors
    # need one dtype: the weight's.
    states = last_positions(head_inputs[0], inputs).flatten(0, 1).to(head.weight.dtype)
    if earlier is not None:
        states = torch.cat([earlier, states])
    return Hidden(states[inputs.predictors], head, precisions[0])


def arguments_of(model: nn.Module, inputs: ModelInputs) -> dict[str, Any]:
    """Return what the model is called with: reward models keep all positions."""
    if reward_head(head_of(model)[0]) is None:
        return inputs.arguments
    return {name: value for name, value in inputs.arguments.items() if name != "logits_to_keep"}


def own_outputs(model: nn.Module, inputs: ModelInputs) -> Tensor:
    """Return what the model itself computes at the positions that `inputs` keeps, `[R, L, V]`.

    Logits; of a reward model the reward at each position, V = 1, which it returns for the last one alone.
    """
    owner, module = head_of(model)
    outputs: list[Tensor] = []
    handle = None
    if module is not None and reward_head(owner) is not None:
        handle = module.register_forward_hook(lambda _, __, output: outputs.append(output))
    try:
        logits: Tensor = model(**arguments_of(model, inputs)).logits
    finally:
        if handle is not None:
            handle.remove()
    return last_positions(outputs[0] if outputs else logits, inputs)


def last_positions(values: Tensor, inputs: ModelInputs) -> Tensor:
    """Return the positions `[R, L, ...]` that `predictors` counts, from states or logits of all or of these.

    A class that does not know `logits_to_keep` drops it without an error and returns every position.
    """
    count = inputs.arguments.get("logits_to_keep")
    return values if count is None else values[:, -count:]


@torch.no_grad()
def _final_step(
    owner: nn.Module, module: nn.Linear, head_inputs: list[Tensor], logits: Tensor
) -> Final | None:
    """Find the scale and softcap that turn the head's output into the model's logits, at one position."""
    # A head that is called more than once per pass, or over several streams (ProphetNet), is no plain one.
    if len(head_inputs) != 1 or head_inputs[0].ndim != 3:
        return None
    state, theirs = head_inputs[0][0, :1].to(module.weight.dtype), logits[0, :1].float()  # [1, E], [1, V]
    rounding = max(torch.finfo(dtype).eps for dtype in (logits.dtype, module.weight.dtype))
    tolerance = max(1e-4, 4 * rounding)  # relative to the largest logit
    for scale, softcap in _candidates(owner):
        head = Head(module.weight, module.bias, scale, softcap)
        ours = head.final(head.product(state))
        if ours.shape == theirs.shape and (ours - theirs).abs().max() <= tolerance * theirs.abs().max():
            return scale, softcap
    return None


def _candidates(owner: nn.Module) -> Iterator[Final]:
    """Yield the scales and softcaps that the configuration mentions, and finally none."""
    config: Any = owner.config.get_text_config()  # type: ignore[operator, union-attr]
    softcap = getattr(config, "final_logit_softcapping", None)
    values = [getattr(config, name, None) for name in FACTORS]
    factors = [float(value) for value in values if isinstance(value, int | float) and value]
    for scale in (*(f for factor in factors for f in (factor, 1 / factor)), 1.0):
        yield from ((scale, softcap), (scale, None))


def _remember(owner: nn.Module, final: Final | None) -> None:
    if final is None and owner not in _final_steps:
        warn(
            f"{type(owner).__name__}: unsupported output head; computing full logits in small batches "
            "(slower, more memory)"
        )
    _final_steps[owner] = final
