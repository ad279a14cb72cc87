"""Output heads that are not plain, and heads in bfloat16."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers
from support.architectures import (
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
from support.grids import some
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from pairkit.training.logprobs import head, probe
from pairkit.training.logprobs.forward import score
from pairkit.training.logprobs.hidden import hidden_states
from pairkit.training.logprobs.padding import pad_rows
from pairkit.training.logprobs.selection import PASS_STATISTICS


class Adapted(nn.Linear):
    """A head as adapters make them: a Linear that computes more than its weight does."""

    def forward(self, states: Tensor) -> Tensor:
        return super().forward(states) + states.sum(dim=-1, keepdim=True) * self.weight[:, 0]


class Bare(nn.Module):
    """A model that does not name its output head."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.body, self.head = network.model, network.lm_head

    def forward(self, logits_to_keep: int = 0, **inputs: Any) -> Any:
        states = self.body(**inputs).last_hidden_state
        logits = self.head(states[:, -logits_to_keep:])
        return transformers.modeling_outputs.CausalLMOutput(logits=logits)


def unknown(kind: str, seed: int = 0) -> nn.Module:
    model = tiny(seed=seed)
    if kind == "bare":
        return Bare(model)
    if kind == "adapted":
        adapted = Adapted(16, VOCABULARY, bias=False)
        adapted.weight = model.lm_head.weight
        model.lm_head = adapted
    else:
        model.lm_head.register_forward_hook(lambda _, __, logits: 3 * torch.sin(logits))
    return model


@pytest.mark.default("chunk1000-sine")
@pytest.mark.parametrize("kind", some(lambda kind: kind == "sine", ["adapted", "sine", "bare"]))
def test_an_unknown_head_uses_its_own_logits_and_is_named_once(
    kind: str, chunk: int, messages: list[str]
) -> None:
    """Together with a known reference, and as the reference of a known model."""
    model, work = unknown(kind), select_all(sets())
    for policy, live in ((model, tiny(seed=1)), (tiny(seed=1), model)):
        expected = naive(policy, work, live)
        scored = score(policy, work, want=PASS_STATISTICS, live=live)
        assert_same(statistics_of(scored), expected)
        assert_same(gradients(policy, statistics_of(scored)), gradients(policy, expected))
    score(model, work)
    assert all(type(model).__name__ in line for line in messages)
    assert sum("unsupported output head" in line for line in messages) == 1
    assert sum("falling back to padded batches" in line for line in messages) == 1
    assert len(messages) == 2


def flat(texts: list[tuple[Any, Any]], device: str) -> tuple[Tensor, Tensor]:
    """The completions' tokens, and the row of each."""
    targets = torch.from_numpy(np.concatenate([ids for _, ids in texts])).long()
    owner = torch.repeat_interleave(torch.tensor([len(ids) for _, ids in texts]))
    return targets.to(device), owner.to(device)


CUDA = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("architecture", ["Gemma3Text", "Phi"])
def test_a_bfloat16_model_has_float32_log_probs(
    architecture: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are those that its bfloat16 states and weights have in exact arithmetic, to float32."""
    few_logits(monkeypatch, 5 * VOCABULARY)
    model = tiny(architecture).bfloat16().to(device)
    live = tiny(architecture, seed=1).bfloat16().to(device)
    work = select_all(sets())
    monkeypatch.setattr(probe, "_packs_alone", lambda model: False)
    texts = [(i.tokens.prompt, i.tokens.columns[c].ids) for i in work for c in i.columns]
    inputs = pad_rows(texts, torch.device(device))
    targets, owner = flat(texts, device)
    scored = score(model, work, want=PASS_STATISTICS, live=live)
    states, logps = [], []
    for each in (model, live):
        hidden = hidden_states(each, inputs)
        assert hidden is not None
        assert hidden.states.dtype == torch.bfloat16
        states.append(hidden.states.detach().double())
        weight, bias = hidden.head.weight.double(), hidden.head.bias
        logits = states[-1] @ weight.t() + (0 if bias is None else bias.double())
        logps.append(log_softmax(hidden.head.final(logits), dim=-1))
    target = logps[0].gather(1, targets[:, None])[:, 0]
    expected = torch.zeros(len(texts), dtype=torch.float64, device=device).index_add(0, owner, target)
    kl = (logps[1].exp() * (logps[1] - logps[0])).sum(dim=-1)
    expected_kl = torch.zeros_like(expected).index_add(0, owner, kl)
    assert scored.policy.sum.dtype == torch.float32
    assert scored.policy.token_kl is not None
    mask = scored.policy.mask
    torch.testing.assert_close(scored.policy.sum[mask].double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(scored.policy.token_kl[mask].double(), expected_kl, rtol=1e-4, atol=1e-5)


def test_gradients_of_a_bfloat16_head_are_summed_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """41 tokens one by one are as near to the exact gradient as bfloat16 can be."""
    few_logits(monkeypatch, VOCABULARY)
    model = tiny("Phi").bfloat16()
    texts = [(i.prompt, c.ids) for i in sets() for c in i.columns]
    targets, _ = flat(texts, "cpu")
    hidden = hidden_states(model, pad_rows(texts, torch.device("cpu")))
    assert hidden is not None
    parameters = [hidden.states, hidden.head.weight, hidden.head.bias]
    statistics = head.token_statistics(("logp",), hidden, targets)
    ours = torch.autograd.grad(statistics["logp"].sum(), parameters)
    exact = [x.detach().double().requires_grad_() for x in parameters if x is not None]
    logp = log_softmax(exact[0] @ exact[1].t() + exact[2], dim=-1).gather(1, targets[:, None])
    for mine, right in zip(ours, torch.autograd.grad(logp.sum(), exact), strict=True):
        assert mine.dtype == torch.bfloat16
        assert (mine - right).norm() < 4e-3 * right.norm()  # rounding to bfloat16 alone gives 1.7e-3
