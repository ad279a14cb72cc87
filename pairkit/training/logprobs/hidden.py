"""The states that a model's output head would read, and the head, from one ordinary call of the model.

A hook on the head notes what it is given and lets it see one position alone. What the model then does with
the head's output (scale, softcap) is read from its configuration and compared with that position.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from pairkit.progress import console
from pairkit.training.logprobs.head import Head, Hidden
from pairkit.training.logprobs.padding import Feed

FACTORS = ("logit_scale", "logits_scaling", "lm_head_multiplier")  # some multiply by it, some divide
Final = tuple[float, float | None]  # scale, softcap
_known: WeakKeyDictionary[nn.Module, Final | None] = WeakKeyDictionary()


def head_of(model: nn.Module) -> tuple[nn.Module, nn.Module | None]:
    """The language model inside `model`, whatever wraps it, and its output head."""
    for module in model.modules():
        get = getattr(module, "get_output_embeddings", None)
        head = get() if get else None
        if isinstance(head, nn.Module):
            return module, head
    return model, None


def hidden_states(model: nn.Module, feed: Feed, before: Tensor | None = None) -> Hidden | None:
    """The states that predict the completions' tokens, [tokens, hidden], with gradient, and the head.

    Args:
        before: [states, hidden] of an earlier call, which `feed.at` counts before this one's.

    Returns:
        None for a model whose logits are not those of a plain head: that is said once.
    """
    owner, module = head_of(model)
    if type(module) is not nn.Linear:  # an adapter's or a quantized one computes something else
        _remember(owner, None)
        return None
    if owner in _known and _known[owner] is None:
        return None
    seen: list[Tensor] = []

    def one_position(_: nn.Module, arguments: tuple[Any, ...]) -> tuple[Tensor]:
        seen.append(arguments[0])
        return (seen[-1][:1, :1],)

    handle = module.register_forward_pre_hook(one_position)
    try:
        logits = model(**feed.inputs).logits
    finally:
        handle.remove()
    if owner not in _known:
        _remember(owner, _final(owner, module, seen, logits))
    final = _known[owner]
    if final is None:
        return None
    head = Head(module.weight, module.bias, *final)
    states = seen[0].flatten(0, 1).to(head.weight.dtype)
    if before is not None:
        states = torch.cat([before, states])
    return Hidden(states[feed.at], head)


@torch.no_grad()
def _final(owner: nn.Module, module: nn.Linear, seen: list[Tensor], logits: Tensor) -> Final | None:
    """What the model does with its head's output, as far as one position shows it."""
    if len(seen) != 1:
        return None
    state, own = seen[0][0, :1].to(module.weight.dtype), logits[0, :1].float()
    rounding = max(torch.finfo(dtype).eps for dtype in (logits.dtype, module.weight.dtype))
    tolerance = max(1e-4, 4 * rounding)
    for scale, softcap in _candidates(owner):
        head = Head(module.weight, module.bias, scale, softcap)
        ours = head.final(head.product(state))
        if ours.shape == own.shape and (ours - own).abs().max() <= tolerance * own.abs().max():
            return scale, softcap
    return None


def _candidates(owner: nn.Module) -> Iterator[Final]:
    """Scales and softcaps that the configuration speaks of, and none at all."""
    config: Any = owner.config.get_text_config()  # type: ignore[operator, union-attr]
    softcap = getattr(config, "final_logit_softcapping", None)
    values = [getattr(config, name, None) for name in FACTORS]
    factors = [float(value) for value in values if isinstance(value, int | float) and value]
    for scale in (*(f for factor in factors for f in (factor, 1 / factor)), 1.0):
        yield from ((scale, softcap), (scale, None))


def _remember(owner: nn.Module, final: Final | None) -> None:
    if final is None and owner not in _known:
        console.print(
            f"{type(owner).__name__}: its logits are not those of a plain output head, so they are made in "
            "full, a few rows at a time; this takes more time and memory",
            markup=False,
        )
    _known[owner] = final
