"""From sets of tokens to statistics: equal to full logits in float32, with one chunk or many."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers
from support.architectures import (
    ARCHITECTURES,
    COUNTS,
    PADDED,
    VOCABULARY,
    assert_same,
    every,
    given,
    gradients,
    naive,
    sets,
    tiny,
)
from torch import Tensor, nn
from torch.nn.functional import log_softmax
from torch.utils._python_dispatch import TorchDispatchMode

from pairkit.progress import console
from pairkit.training.logprobs import forward, head, target_logp
from pairkit.training.logprobs import packing as packed
from pairkit.training.logprobs.attention import using_packed_attention
from pairkit.training.logprobs.forward import score, score_all
from pairkit.training.logprobs.hidden import hidden_states
from pairkit.training.logprobs.padding import pad_rows
from pairkit.training.logprobs.probe import packs
from pairkit.training.logprobs.selection import PASS_STATISTICS, SetSelection


@pytest.fixture(params=[5, 60, 1000], ids=lambda tokens: f"chunk{tokens}")
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Tokens a chunk: 60 hold the 41 completion tokens, 1000 all that any test passes."""
    few_logits(monkeypatch, request.param * VOCABULARY)
    return int(request.param)


def few_logits(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """No chunk of tokens and no slice of the vocabulary has more, but for one token or one column."""
    monkeypatch.setattr(head, "CHUNK_LOGITS", count)
    monkeypatch.setattr(target_logp, "SLICE_LOGITS", {"cpu": count, "cuda": count})
    monkeypatch.setattr(target_logp, "KEPT_LOGITS", count)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(console, "print", lambda line, **_: lines.append(line))
    return lines


@pytest.fixture(params=["block", "pieces", "padded"])
def layout(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """One packed sequence that attends in one call or in a call a text, or a padded row a completion."""
    if request.param == "pieces":
        monkeypatch.setattr(packed, "BLOCK", 0)
    if request.param == "padded":
        monkeypatch.setattr(forward, "packs", lambda *_: False)
    return str(request.param)


@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name not in PADDED])
def test_statistics_and_gradients_equal_full_logits(
    architecture: str, layout: str, chunk: int, said: list[str]
) -> None:
    model, live = tiny(architecture), tiny(architecture, seed=1)
    work = every(sets())
    expected = naive(model, work, live)
    scored = score(model, work, want=PASS_STATISTICS, live=live)
    assert_same(given(scored), expected)
    assert_same(gradients(model, given(scored)), gradients(model, expected), 3e-5)
    assert all(p.grad is None for p in live.parameters())
    assert said == []


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("architecture", ["Llama", "Mistral-window", "Gemma3Text", "GPT2", "Olmo2", "Phi3"])
def test_packed_is_separate_whatever_the_model_attends_with(architecture: str, attention: str) -> None:
    model = tiny(architecture, attn_implementation=attention)
    expected = {"sum": naive(model, every(sets()))["sum"]}
    found = {"sum": score(model, every(sets())).policy.sum}
    assert_same(found, expected)
    assert_same(gradients(model, found), gradients(model, expected), 3e-5)
    assert packs(model)
    assert model.config._attn_implementation == attention


@pytest.mark.parametrize("architecture", PADDED)
def test_a_model_that_cannot_pack_is_padded_and_says_so_once(
    architecture: str, chunk: int, said: list[str]
) -> None:
    model, live = tiny(architecture), tiny(architecture, seed=1)
    work = every(sets())
    expected = naive(model, work, live)
    scored = score(model, work, want=PASS_STATISTICS, live=live)
    assert_same(given(scored), expected)
    assert_same(gradients(model, given(scored)), gradients(model, expected))
    score(model, work)
    assert len(said) == 1
    assert PADDED[architecture] in said[0]
    assert "falling back to padded batches" in said[0]


def test_a_prompt_passes_once() -> None:
    model, work = tiny(), every(sets())
    seen: list[torch.Size] = []
    assert packs(model)
    handle = model.model.register_forward_pre_hook(
        lambda _, __, inputs: seen.append(inputs["input_ids"].shape), with_kwargs=True
    )
    scored = score(model, work)
    handle.remove()
    tokens = sum(len(item.prompt) + sum(len(c.ids) for c in item.columns) for item in sets())
    assert seen == [torch.Size([1, tokens])]
    assert scored.tokens == tokens


def test_what_is_not_wanted_is_not_given() -> None:
    model, live = tiny(), tiny(seed=1)
    plain = score(model, every(sets()))
    assert given(plain).keys() == {"sum"}
    beside = score(model, every(sets()), live=live)
    assert given(beside).keys() == {"sum", "reference"}
    torch.testing.assert_close(plain.policy.sum, beside.policy.sum)
    for name in PASS_STATISTICS - {"token_kl"}:
        given_by_it = given(score(model, every(sets()), want=frozenset({name}))).keys()
        assert given_by_it == {"sum", name} | ({"chosen_head"} if name == "head_sum" else set())
    both = score(model, every(sets()), want=frozenset({"head_sum"}), live=live)
    assert given(both).keys() == {
        "sum", "head_sum", "chosen_head", "reference", "reference_head_sum", "reference_chosen_head",
    }  # fmt: skip


def test_only_sums_and_token_kl_have_a_gradient(chunk: int) -> None:
    scored = score(tiny(), every(sets()), want=PASS_STATISTICS, live=tiny(seed=1))
    with_gradient = {name for name, value in given(scored).items() if value.requires_grad}
    assert with_gradient == {"sum", "head_sum", "chosen_head", "token_kl"}


def test_token_kl_is_0_for_a_model_and_itself_and_positive_for_others(chunk: int) -> None:
    model, work = tiny(), every(sets())
    same = score(model, work, want=frozenset({"token_kl"}), live=model).policy.token_kl
    other = score(model, work, want=frozenset({"token_kl"}), live=tiny(seed=1)).policy
    assert same is not None
    assert other.token_kl is not None
    assert same.abs().max() < 1e-6
    assert (other.token_kl[other.mask] > 0.01).all()
    assert (other.token_kl[~other.mask] == 0).all()


def test_wants_that_cannot_be_met_are_refused(chunk: int) -> None:
    model, work = tiny(), every(sets())
    with pytest.raises(ValueError, match="token_kl needs an online reference model"):
        score(model, work, want=frozenset({"token_kl"}))
    with pytest.raises(ValueError, match="unknown statistics \\['kl'\\]"):
        next(score_all(model, work, 100, want=frozenset({"kl", "entropy"})))
    with pytest.raises(ValueError, match="the model has 67 tokens and the reference 70"):
        score(model, work, want=frozenset({"token_kl"}), live=tiny(vocab_size=70))
    assert score(model, work, live=tiny(vocab_size=70)).reference is not None  # its sums need no such thing


def test_a_set_scored_in_parts_has_the_heads_of_the_whole(layout: str) -> None:
    model, live, work = tiny(), tiny(seed=1), every(sets())
    with torch.no_grad():
        whole = given(score(model, work, want=PASS_STATISTICS, live=live))
    for budget in (1, 30, 10**6):
        found = {name: torch.zeros_like(value) for name, value in whole.items()}
        for rows, scored in score_all(model, work, budget, want=PASS_STATISTICS, live=live):
            for name, values in given(scored).items():
                assert not values.requires_grad
                for (position, columns), row in zip(rows, values, strict=True):
                    found[name][position, list(columns)] = row[: len(columns)]
        assert_same(found, whole)


def test_columns_may_be_any_of_a_set_in_any_order(layout: str) -> None:
    model = tiny()
    work = [
        SetSelection(item, columns)
        for item, columns in zip(sets(), [(2, 0), (1,), (0, 0), (3, 2, 1)], strict=True)
    ]
    assert_same(
        given(score(model, work, want=PASS_STATISTICS - {"token_kl"})),
        naive(model, work),
    )


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
        gradients(model, given(score(model, every(sets(vocabulary=LARGE)), want=want, live=live)))
    return mode.elements


LARGE = 2003


@pytest.mark.parametrize("live", [False, True], ids=["alone", "live"])
def test_no_tensor_holds_tokens_times_vocabulary(
    live: bool, said: list[str], monkeypatch: pytest.MonkeyPatch
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
    assert said == []


class Called(nn.Module):
    """A wrapper as launchers and adapters put around a model."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.calls = network, 0

    def forward(self, **inputs: Any) -> Any:
        self.calls += 1
        return self.network(**inputs)


def test_the_wrapper_is_called_and_its_head_sees_one_position(monkeypatch: pytest.MonkeyPatch) -> None:
    few_logits(monkeypatch, 5 * VOCABULARY)
    model, work = tiny(), every(sets())
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


def test_a_failed_call_leaves_no_hook_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    few_logits(monkeypatch, 1)
    model = tiny()
    with pytest.raises(IndexError):
        score(model, every(sets(vocabulary=10 * VOCABULARY)))
    assert not model.lm_head._forward_pre_hooks


class Adapted(nn.Linear):
    """A head as adapters make them: a Linear that computes more than its weight says."""

    def forward(self, states: Tensor) -> Tensor:
        return super().forward(states) + states.sum(dim=-1, keepdim=True) * self.weight[:, 0]


class Bare(nn.Module):
    """A model that does not say which its output head is."""

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


@pytest.mark.parametrize("kind", ["adapted", "sine", "bare"])
def test_an_unknown_head_gives_its_own_logits_and_says_so_once(
    kind: str, chunk: int, said: list[str]
) -> None:
    """A known reference beside it, and an unknown reference beside a known model, take part."""
    model, work = unknown(kind), every(sets())
    for policy, live in ((model, tiny(seed=1)), (tiny(seed=1), model)):
        expected = naive(policy, work, live)
        scored = score(policy, work, want=PASS_STATISTICS, live=live)
        assert_same(given(scored), expected)
        assert_same(gradients(policy, given(scored)), gradients(policy, expected))
    score(model, work)
    assert all(type(model).__name__ in line for line in said)
    assert sum("unsupported output head" in line for line in said) == 1
    assert sum("falling back to padded batches" in line for line in said) == 1
    assert len(said) == 2


def test_an_unknown_head_makes_logits_a_few_rows_at_a_time(
    said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny(vocab_size=LARGE)
    model.lm_head.register_forward_hook(lambda _, __, logits: 3 * torch.sin(logits))
    positions = 13  # of a row: the widest has 14 tokens, the shortest prompt 2
    few_logits(monkeypatch, 3 * positions * LARGE)
    assert 16 * LARGE < largest(model, None, frozenset()) <= 3 * positions * LARGE
    assert len(said) == 2


@pytest.mark.parametrize("trained", ["head", "body"])
def test_a_frozen_part_gets_no_gradient_and_the_rest_its_own(trained: str, chunk: int) -> None:
    model, work = tiny("Phi"), every(sets())
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("lm_head") == (trained == "head"))
    found, expected = given(score(model, work)), {"sum": naive(model, work)["sum"]}
    assert_same(gradients(model, found), gradients(model, expected))


def test_activation_checkpoints_of_the_model_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    few_logits(monkeypatch, 5 * VOCABULARY)
    model, work = tiny(), every(sets())
    expected = gradients(model, given(score(model, work)))
    model.activation_checkpointing_enable({"use_reentrant": False})
    model.train()
    with using_packed_attention(model):  # the layers pass again in backward
        assert_same(gradients(model, given(score(model, work))), expected)


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
    work = every(sets())
    monkeypatch.setattr(forward, "packs", lambda *_: False)
    texts = [(i.tokens.prompt, i.tokens.columns[c].ids) for i in work for c in i.columns]
    feed = pad_rows(texts, torch.device(device))
    targets, owner = flat(texts, device)
    scored = score(model, work, want=PASS_STATISTICS, live=live)
    states, logps = [], []
    for each in (model, live):
        found = hidden_states(each, feed)
        assert found is not None
        assert found.states.dtype == torch.bfloat16
        states.append(found.states.detach().double())
        weight, bias = found.head.weight.double(), found.head.bias
        logits = states[-1] @ weight.t() + (0 if bias is None else bias.double())
        logps.append(log_softmax(found.head.final(logits), dim=-1))
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
    found = hidden_states(model, pad_rows(texts, torch.device("cpu")))
    assert found is not None
    inputs = [found.states, found.head.weight, found.head.bias]
    statistics = head.token_statistics(("logp",), found, targets)
    ours = torch.autograd.grad(statistics["logp"].sum(), inputs)
    exact = [x.detach().double().requires_grad_() for x in inputs if x is not None]
    logp = log_softmax(exact[0] @ exact[1].t() + exact[2], dim=-1).gather(1, targets[:, None])
    for mine, right in zip(ours, torch.autograd.grad(logp.sum(), exact), strict=True):
        assert mine.dtype == torch.bfloat16
        assert (mine - right).norm() < 4e-3 * right.norm()  # rounding to bfloat16 alone gives 1.7e-3
