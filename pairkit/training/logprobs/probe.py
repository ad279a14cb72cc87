"""Whether a model can attend over packed sequences: found out by trying, once per model.

A few tokens pass packed and padded, and the states must agree. Trying is the only safe test, because a model
that ignores the mask or the positions it is given computes something plausible instead of failing.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn

from pairkit.progress import warn
from pairkit.training.distributed.sharding import reshard
from pairkit.training.logprobs.attention import current_sequence, using_packed_attention
from pairkit.training.logprobs.head import Hidden
from pairkit.training.logprobs.hidden import class_name, head_of, hidden_states
from pairkit.training.logprobs.packing import PromptTexts, pack, pack_after
from pairkit.training.logprobs.padding import pad_rows
from pairkit.training.logprobs.rows import check_rows

KNOWN_LAYERS = {"full_attention", "sliding_attention"}
PROBE = [([1, 2, 3, 4, 5], [[6, 7, 2], [3, 1]]), ([4, 1], [[2], [5, 6, 1, 3]])]  # prompts and completions
_packs: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()
_continues: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def packs(*models: nn.Module | None) -> bool:
    """Return whether all of these models can pack; a model that cannot is printed once, with the reason.

    Policy and reference run over the same inputs, so one that cannot pack decides for both.

    Raises:
        ModelError: a model whose padded rows are wrong (see `rows`), packed or not.
    """
    return all(_packs_alone(model) for model in models if model is not None)


def continues(model: nn.Module) -> bool:
    """Return whether completions can pass on the keys of a sequence that has their prompts.

    A layer that attends more than once per pass cannot: the keys of its last call stand for all of them. One
    that cannot is printed once.

    Args:
        model: one that packs.
    """
    if model not in _continues:
        after, separate = _states_after(model)
        _continues[model] = not separate.states.isfinite().all() or not _differ(after, separate)
        if not _continues[model]:
            warn(
                f"{class_name(model)}: completions cannot pass on the keys of their prompts; scoring whole "
                "sets before each step to sample negatives (slower)"
            )
    return _continues[model]


def pad(model: nn.Module) -> None:
    """Have this model run over padded rows even if it could pack. Raises `ModelError` (see `rows`)."""
    check_rows(model)
    _packs[model] = False


def _packs_alone(model: nn.Module) -> bool:
    if model not in _packs:
        # First, because packed states are compared with those of padded rows.
        check_rows(model)
        reason = _refusal(model)
        _packs[model] = reason is None
        if reason is not None:
            warn(
                f"{class_name(model)}: {reason}; falling back to padded batches without "
                "shared prompts (slower)"
            )
    return _packs[model]


def static_refusal(model: nn.Module) -> str | None:
    """Return why a model cannot pack, as far as its class tells, so that it works on the meta device too."""
    owner, output = head_of(model)
    if type(output) is not nn.Linear:
        return "its output head is not a plain one"
    kinds = set(getattr(owner.config.get_text_config(), "layer_types", None) or ())  # type: ignore
    if kinds - KNOWN_LAYERS:  # recurrent layers carry a state from one completion into the next
        return f"it has layers of {', '.join(sorted(kinds - KNOWN_LAYERS))}"
    if not getattr(owner, "_supports_attention_backend", False):
        return "its attention cannot be replaced"
    return None


def _refusal(model: nn.Module) -> str | None:
    if (reason := static_refusal(model)) is not None:
        return reason
    try:
        packed, separate = _probe_states(model)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a model does with a mask and positions that it does not expect
        return f"a packed sequence fails in it ({type(error).__name__}: {error})"
    # A head that looks plain may still not be: that shows only when its logits are compared.
    if packed is None or separate is None:
        return "its logits are not those of a plain output head"
    if not separate.states.isfinite().all():
        return None  # the weights have diverged: that tells nothing about the model's class
    if _differ(packed, separate):
        return "a packed sequence gives other states"
    return None


def _differ(states: Hidden, separate: Hidden) -> bool:
    # bfloat16 rounds to 3 digits in each layer.
    tolerance = 1e-3 if states.precision == torch.float32 else 0.1
    off = (states.states - separate.states).abs().max()
    return not bool(off <= tolerance * separate.states.abs().max())


@torch.no_grad()
def _probe_states(model: nn.Module) -> tuple[Hidden | None, Hidden | None]:
    """Return the states that predict a few tokens, packed and as padded rows."""
    device = next(model.parameters()).device
    sets = _probe_sets()
    inputs, packed = pack(sets, device)
    with using_packed_attention(model), current_sequence(packed):
        together = hidden_states(model, inputs)
    texts = [(prompt, ids) for prompt, completions in sets for ids in completions]
    return together, hidden_states(model, pad_rows(texts, device))


@torch.no_grad()
def _states_after(model: nn.Module) -> tuple[Hidden, Hidden]:
    """Return the states that predict each set's last completion, on cached keys and as padded rows."""
    device = next(model.parameters()).device
    sets = _probe_sets()
    inputs, packed = pack([(prompt, completions[:1]) for prompt, completions in sets], device, cache=True)
    with using_packed_attention(model):
        with current_sequence(packed):
            firsts = hidden_states(model, inputs)
        assert firsts is not None, "a model that packs has a plain head"
        # The first token of any completion is predicted by the last state of its prompt.
        starts = np.cumsum([0, *(len(completions[0]) for _, completions in sets[:-1])])
        inputs, later = pack_after(packed, [completions[1:] for _, completions in sets])
        with current_sequence(later):
            after = hidden_states(model, inputs, firsts.states[torch.from_numpy(starts).to(device)])
    texts = [(prompt, ids) for prompt, completions in sets for ids in completions[1:]]
    separate = hidden_states(model, pad_rows(texts, device))
    reshard(model)  # no backward comes, which would do it
    assert after is not None
    assert separate is not None
    return after, separate


def _probe_sets() -> list[PromptTexts]:
    return [
        (np.array(prompt, np.int32), [np.array(ids, np.int32) for ids in completions])
        for prompt, completions in PROBE
    ]
