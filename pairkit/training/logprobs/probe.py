"""Whether a model can attend over packed sequences: found out by trying, once a model."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from pairkit.progress import console
from pairkit.training.logprobs.attention import packing, passing
from pairkit.training.logprobs.hidden import head_of, hidden_states
from pairkit.training.logprobs.packing import pack
from pairkit.training.logprobs.padding import Feed, padded

KNOWN_LAYERS = {"full_attention", "sliding_attention"}
TRIED = [([1, 2, 3, 4, 5], [[6, 7, 2], [3, 1]]), ([4, 1], [[2], [5, 6, 1, 3]])]  # prompts and completions
_packs: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def packs(*models: nn.Module | None) -> bool:
    """Whether all of these models can; of one that cannot, that is said once."""
    return all(_can(model) for model in models if model is not None)


def pad(model: nn.Module) -> None:
    """Has this model padded whatever it can."""
    _packs[model] = False


def _can(model: nn.Module) -> bool:
    if model not in _packs:
        reason = _refusal(model)
        _packs[model] = reason is None
        if reason is not None:
            console.print(
                f"{type(head_of(model)[0]).__name__}: {reason}, so every completion passes with a prompt of "
                "its own, padded; this takes more time",
                markup=False,
            )
    return _packs[model]


def static_refusal(model: nn.Module) -> str | None:
    """Why a model cannot, as far as that is known without a pass, so also of one on the meta device."""
    owner, output = head_of(model)
    if type(output) is not nn.Linear:
        return "its output head is not a plain one"
    kinds = set(getattr(owner.config.get_text_config(), "layer_types", None) or ())  # type: ignore
    if kinds - KNOWN_LAYERS:
        return f"it has layers of {', '.join(sorted(kinds - KNOWN_LAYERS))}"
    if not getattr(owner, "_supports_attention_backend", False):
        return "its attention cannot be replaced"
    return None


def _refusal(model: nn.Module) -> str | None:
    if (reason := static_refusal(model)) is not None:
        return reason
    try:
        packed, separate = _states(model)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a model does with a mask and positions that it does not expect
        return f"a packed sequence fails in it ({type(error).__name__}: {error})"
    if packed is None or separate is None:
        return "its logits are not those of a plain output head"
    if not separate.isfinite().all():
        return None  # weights that went astray: they say nothing of the model
    tolerance = 1e-3 if packed.dtype == torch.float32 else 0.1
    if not (packed - separate).abs().max() <= tolerance * separate.abs().max():
        return "a packed sequence gives other states"
    return None


@torch.no_grad()
def _states(model: nn.Module) -> tuple[Tensor | None, Tensor | None]:
    """The states that predict a few tokens, packed and each completion by itself."""
    device = next(model.parameters()).device
    wanted = [
        (np.array(prompt, np.int32), [np.array(ids, np.int32) for ids in completions])
        for prompt, completions in TRIED
    ]
    feed, packed = pack(wanted, device)
    with packing(model), passing(packed):
        together = _of(model, feed)
    texts = [(prompt, ids) for prompt, completions in wanted for ids in completions]
    return together, _of(model, padded(texts, device))


def _of(model: nn.Module, feed: Feed) -> Tensor | None:
    found = hidden_states(model, feed)
    return None if found is None else found.states
