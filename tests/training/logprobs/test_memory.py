"""What a pass holds in memory, and what it calls: wrappers, hooks, activation checkpoints."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.architectures import (
    COUNTS,
    VOCABULARY,
    assert_same,
    few_logits,
    gradients,
    naive,
    select_all,
    sets,
    statistics_of,
    tiny,
)
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from pairkit.training.logprobs.attention import using_packed_attention
from pairkit.training.logprobs.forward import score
from pairkit.training.logprobs.probe import packs
from pairkit.training.logprobs.selection import PASS_STATISTICS


class Largest(TorchDispatchMode):
    """The largest number of elements of any tensor that an operation gives."""

    elements = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else (result,):
            if isinstance(value, Tensor):
                self.elements = max(self.elements, value.numel())
        return result


def largest(model: nn.Module, live: nn.Module | None, want: frozenset[str]) -> int:
    with Largest() as mode:
        gradients(
            model, statistics_of(score(model, select_all(sets(vocabulary=LARGE)), want=want, live=live))
        )
    return mode.elements


LARGE = 2003


@pytest.mark.default("live")
@pytest.mark.parametrize("live", [False, True], ids=["alone", "live"])
def test_no_tensor_holds_tokens_times_vocabulary(
    live: bool, messages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the head's own weight and its gradient are larger than a chunk."""
    model = tiny(vocab_size=LARGE)
    reference = tiny(vocab_size=LARGE, seed=1) if live else None
    want = PASS_STATISTICS if live else PASS_STATISTICS - {"token_kl"}
    tokens = sum(map(sum, COUNTS))
    assert largest(model, reference, want) >= tokens * LARGE  # in one chunk
    for chunk in (4, 20):
        few_logits(monkeypatch, chunk * LARGE)
        assert largest(model, reference, want) == max(chunk, 16) * LARGE
    assert messages == []


def test_an_unknown_head_makes_logits_a_few_rows_at_a_time(
    messages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny(vocab_size=LARGE)
    model.lm_head.register_forward_hook(lambda _, __, logits: 3 * torch.sin(logits))
    positions = 13  # of a row: the widest has 14 tokens, the shortest prompt 2
    few_logits(monkeypatch, 3 * positions * LARGE)
    assert 16 * LARGE < largest(model, None, frozenset()) <= 3 * positions * LARGE
    assert len(messages) == 2


class Called(nn.Module):
    """A wrapper such as launchers and adapters put around a model."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.calls = network, 0

    def forward(self, **inputs: Any) -> Any:
        self.calls += 1
        return self.network(**inputs)


def test_the_wrapper_is_called_and_its_head_sees_one_position(monkeypatch: pytest.MonkeyPatch) -> None:
    few_logits(monkeypatch, 5 * VOCABULARY)
    model, work = tiny(), select_all(sets())
    wrapper = Called(model)
    seen: list[torch.Size] = []
    handle = model.lm_head.register_forward_hook(lambda _, arguments, __: seen.append(arguments[0].shape))
    assert packs(wrapper)
    wrapper.calls, seen[:] = 0, []
    found = score(wrapper, work)
    handle.remove()
    assert wrapper.calls == 1
    assert seen == [torch.Size([1, 1, 16])]
    assert not model.lm_head._forward_pre_hooks
    assert_same({"sum": found.policy.sum}, {"sum": naive(model, work)["sum"]})


def test_a_failed_call_leaves_no_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    few_logits(monkeypatch, 1)
    model = tiny()
    with pytest.raises(IndexError):
        score(model, select_all(sets(vocabulary=10 * VOCABULARY)))
    assert not model.lm_head._forward_pre_hooks


def test_activation_checkpoints_of_the_model_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    few_logits(monkeypatch, 5 * VOCABULARY)
    model, work = tiny(), select_all(sets())
    expected = gradients(model, statistics_of(score(model, work)))
    model.activation_checkpointing_enable({"use_reentrant": False})
    model.train()
    with using_packed_attention(model):  # the layers pass again in backward
        assert_same(gradients(model, statistics_of(score(model, work))), expected)
