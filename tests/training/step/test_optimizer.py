"""Optimizers on whole and on narrow weights: what they update and keep, and what rounding loses."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from pairkit.errors import RecipeError
from pairkit.training.lora import Lora, with_adapters
from pairkit.training.step.narrow import Unmoved, make_optimizer, stochastically_rounded, unmoved_warning
from pairkit.training.step.optimizer import (
    Optimizer,
    check_optimizer,
    optimizers,
    partition,
    state_bytes,
)

SETTINGS = [
    {"name": "adamw"},
    {"name": "adamw_8bit"},
    {"name": "adafactor"},
    {"name": "muon"},
    {"name": "adamw", "rounding": "stochastic"},
    {"name": "adamw_8bit", "rounding": "stochastic"},
    {"name": "muon", "rounding": "stochastic"},
    {"name": "adafactor", "master": "float32"},
    {"name": "adamw", "master": "float32"},
    {"name": "muon", "master": "float32"},
]


def settings_of(**fields: Any) -> Optimizer:
    return Optimizer.model_validate({"learning_rate": 1e-2, "weight_decay": 0.1, **fields})


def network(dtype: torch.dtype = torch.float32) -> nn.Module:
    config = LlamaConfig(
        vocab_size=72, hidden_size=64, intermediate_size=80, num_hidden_layers=1, num_attention_heads=2,
        tie_word_embeddings=False,
    )  # fmt: skip
    torch.manual_seed(0)
    return LlamaForCausalLM(config).to(dtype)


def gradients(model: nn.Module, step: int) -> None:
    random = torch.Generator().manual_seed(step)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=random).to(parameter.dtype)


def steps(model: nn.Module, optimizer: Any, numbers: range) -> None:
    for step in numbers:
        gradients(model, step)
        optimizer.step(1e-2, seed=step)
        optimizer.zero_grad()


@pytest.mark.parametrize("fields", SETTINGS, ids=lambda fields: "-".join(fields.values()))
def test_a_restored_optimizer_takes_the_same_steps(fields: dict[str, str]) -> None:
    settings = settings_of(**fields)
    narrow = len(fields) > 1
    whole = network(torch.bfloat16 if narrow else torch.float32)
    optimizer = make_optimizer(settings, whole)
    assert list(map(id, optimizer.weights)) != []
    assert {id(p) for p in optimizer.weights} == {id(p) for p in whole.parameters()}
    start = copy.deepcopy(whole.state_dict())
    steps(whole, optimizer, range(3))
    kept = copy.deepcopy((whole.state_dict(), optimizer.state_dict()))
    steps(whole, optimizer, range(3, 6))

    resumed = network(torch.bfloat16 if narrow else torch.float32)
    resumed.load_state_dict(kept[0])
    other = make_optimizer(settings, resumed)
    other.load_state_dict(kept[1])
    steps(resumed, other, range(3, 6))
    for name, value in resumed.state_dict().items():
        assert torch.equal(value, whole.state_dict()[name]), name
        assert not torch.equal(value, start[name]), name


@pytest.mark.parametrize("fields", SETTINGS, ids=lambda fields: "-".join(fields.values()))
def test_weights_without_a_gradient_stay(fields: dict[str, str]) -> None:
    model = network(torch.bfloat16 if len(fields) > 1 else torch.float32)
    optimizer = make_optimizer(settings_of(**fields), model)
    start = copy.deepcopy(model.state_dict())
    optimizer.step(1e-2, seed=0)
    assert all(torch.equal(value, start[name]) for name, value in model.state_dict().items())


def test_muon_takes_matrices_between_hidden_states() -> None:
    model = network()
    orthogonal, matrices, others = partition(settings_of(name="muon"), model)
    names = {id(p): name for name, p in model.named_parameters()}
    assert {names[id(p)].split(".")[-2] for p in orthogonal} == {
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    }  # fmt: skip
    assert {names[id(p)] for p in matrices} == {"model.embed_tokens.weight", "lm_head.weight"}
    assert all("norm" in names[id(p)] for p in others)
    assert partition(settings_of(name="adamw"), model)[0] == []


def test_muon_leaves_adapters_of_embeddings_and_head_to_adamw() -> None:
    lora = Lora(r=2, targets=["q_proj", "embed_tokens", "lm_head"])
    adapted = with_adapters(network(), lora, seed=0)
    orthogonal, matrices, _ = partition(settings_of(name="muon"), adapted)
    names = {id(p): name for name, p in adapted.named_parameters()}
    assert {names[id(p)].split(".")[-4] for p in orthogonal} == {"q_proj"}
    assert len(orthogonal) == 2
    assert sorted("lm_head" in names[id(p)] for p in matrices) == [False, False, True, True]


def test_a_step_of_muon_is_orthogonal_with_the_size_of_adamw() -> None:
    """Its singular values are nearly one size, and its root mean square is 0.2 of the rate."""
    model = network()
    weight = model.get_parameter("model.layers.0.self_attn.q_proj.weight")
    before = weight.detach().clone()
    optimizer = make_optimizer(settings_of(name="muon", weight_decay=0), model)
    steps(model, optimizer, range(1))
    change = (weight.detach() - before) / 1e-2
    values = torch.linalg.svdvals(change)
    assert values.max() / values.min() < 3
    assert change.square().mean().sqrt() == pytest.approx(0.2, rel=0.2)


@pytest.mark.parametrize("fused", [True, False])
def test_adamw_is_that_of_torch_with_decay_on_matrices(fused: bool) -> None:
    ours, theirs = network(), network()
    optimizer = make_optimizer(settings_of(), ours)
    groups = [
        {"params": [p for p in theirs.parameters() if (p.ndim > 1) == matrix], "weight_decay": decay}
        for matrix, decay in ((True, 0.1), (False, 0.0))
    ]
    reference = torch.optim.AdamW(groups, lr=1e-2, fused=fused)
    for step in range(2):
        gradients(ours, step)
        gradients(theirs, step)
        optimizer.step(1e-2, seed=0)
        reference.step()
    for name, value in ours.state_dict().items():
        # One kernel rounds less often than a pass per operation does.
        tolerance = 0.0 if fused else 1e-7
        torch.testing.assert_close(value, theirs.state_dict()[name], rtol=0, atol=tolerance)


def test_weights_that_one_kernel_cannot_update_have_a_pass_per_operation() -> None:
    """The state of a run on another device is that of torch's own choice."""
    (part,) = optimizers(settings_of(), [], [nn.Parameter(torch.ones(2, device="meta"))], [])
    assert part.param_groups[0]["fused"] is None


def test_float32_copies_make_the_steps_of_float32_weights() -> None:
    narrow, wide = network(torch.bfloat16), network(torch.bfloat16).float()
    optimizer, reference = (
        make_optimizer(settings_of(master="float32"), narrow),
        make_optimizer(settings_of(), wide),
    )
    for step in range(5):
        gradients(narrow, step)
        for parameter, other in zip(wide.parameters(), narrow.parameters(), strict=True):
            parameter.grad = other.grad.float()
        optimizer.step(1e-3, seed=0)
        reference.step(1e-3, seed=0)
    for name, value in narrow.state_dict().items():
        assert torch.equal(value, wide.state_dict()[name].bfloat16()), name


def test_stochastic_rounding_is_right_in_the_mean() -> None:
    random = torch.Generator().manual_seed(0)
    for value in (1 + 2**-10, -3.1, 0.02 + 1e-6, 1.0):
        rounded = stochastically_rounded(torch.full((40_000,), value), random).double()
        ulp = 2.0 ** (torch.tensor(value).abs().log2().floor().item() - 7)
        assert rounded.mean().item() == pytest.approx(torch.tensor(value).item(), abs=4 * ulp / 2 / 200)
        assert len(rounded.unique()) == (1 if value == 1.0 else 2)
        assert (rounded - value).abs().max() < ulp


def test_a_tiny_rate_moves_weights_with_stochastic_rounding_only() -> None:
    """Weights of 1, an update of 1e-4 in each step: a twentieth of what bfloat16 can hold there."""
    moved = {}
    for rounding in ("nearest", "stochastic"):
        model = nn.Linear(200, 200, bias=False).to(torch.bfloat16)
        nn.init.ones_(model.weight)
        optimizer = make_optimizer(settings_of(rounding=rounding, weight_decay=0), model)
        for step in range(20):
            model.weight.grad = torch.ones_like(model.weight)
            optimizer.step(1e-4, seed=step)
        moved[rounding] = 1 - model.weight.double().mean().item()
    assert moved["nearest"] == 0
    assert moved["stochastic"] == pytest.approx(20e-4, rel=0.05)


def test_how_many_weights_did_not_move_is_measured() -> None:
    """Half of the weights are so small that it changes them; one without a gradient does not count."""
    model = nn.Linear(100, 100, bias=False).to(torch.bfloat16)
    with torch.no_grad():
        model.weight[:50], model.weight[50:] = 1.0, 1e-3
    optimizer = make_optimizer(settings_of(weight_decay=0), model)
    model.weight.grad = torch.ones_like(model.weight)
    model.weight.grad[:, :20] = 0
    sample = Unmoved(optimizer.weights)
    optimizer.step(1e-4, seed=0)
    share = sample.share()
    assert share == pytest.approx(0.5, abs=0.02)
    assert unmoved_warning(0.5, 1e-4, 1) is None
    assert "92% of those with a gradient did not change" in (unmoved_warning(0.92, 5e-7, 3) or "")
    assert Unmoved(list(network().parameters())).share() is None


def test_the_bytes_of_the_states_are_those_of_a_step() -> None:
    for fields in ({"name": "adamw"}, {"name": "muon"}, {"name": "adamw", "master": "float32"}):
        model = network(torch.bfloat16 if "master" in fields else torch.float32)
        settings = settings_of(**fields)
        optimizer = make_optimizer(settings, model)
        steps(model, optimizer, range(1))
        states = optimizer.state_dict()["state"].values()
        tensors = [value for state in states for value in state.values() if value.ndim]
        assert state_bytes(settings, model) == sum(t.numel() * t.element_size() for t in tensors)


@pytest.mark.parametrize("fields", SETTINGS[1:], ids=lambda fields: "-".join(fields.values()))
def test_what_cannot_be_sharded_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(RecipeError, match=r"cannot be sharded"):
        check_optimizer(settings_of(**fields), sharded=True)
    check_optimizer(settings_of(**fields), sharded=False)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pairkit.training.step.optimizer.find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r"adamw_8bit needs bitsandbytes: pip install 'pairkit\[qlora\]'"):
        check_optimizer(settings_of(name="adamw_8bit"), sharded=False)
