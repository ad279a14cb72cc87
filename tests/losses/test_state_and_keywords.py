"""Running statistics through checkpoints and evaluation, and the effect of every keyword."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from support.loss_cases import OF_THE_LOOP, TABLE, WITH_STATE, Case, case, in_case, numbers, others
from support.tensors import random_logps, single

from pairkit.errors import InputError, RecipeError
from pairkit.losses import LOSSES, build
from pairkit.losses.parameters import Choice, Flag, Number


def trained(name: str) -> Case:
    """Build a loss that has observed two batches."""
    torch.manual_seed(0)
    one = case(name, sets=6, seed=1)
    for seed in (1, 2):
        see(one.loss, case(name, sets=6, seed=seed))
    return one


def see(loss: Any, other: Case) -> None:
    """Let it observe a batch with positive log-ratios, because kto's baseline is clamped at 0."""
    policy = replace(other.policy, sum=other.policy.sum + 5)
    loss.observe(policy, other.reference, torch.arange(len(policy.sum)))


@pytest.mark.parametrize("name", WITH_STATE)
def test_state_is_restored_from_a_file(name: str) -> None:
    one = trained(name)
    buffer = io.BytesIO()
    torch.save(one.loss.state_dict(), buffer)
    buffer.seek(0)
    fresh = case(name, sets=6, seed=1)
    untouched = {key: value.clone() for key, value in fresh.loss.state_dict().items()}
    assert one.loss.state_dict() != untouched
    fresh.loss.load_state_dict(torch.load(buffer, weights_only=True))
    assert fresh.loss.state_dict() == one.loss.state_dict()
    for value in fresh.loss.state_dict().values():
        assert value.shape == ()
        assert value.dtype == torch.float64
    for loss in (one.loss, fresh.loss):
        see(loss, case(name, sets=6, seed=4))
        loss.eval()
    assert fresh().losses.tolist() == one().losses.tolist()
    case(name).loss.load_state_dict(untouched)


@pytest.mark.parametrize("name", WITH_STATE)
def test_evaluation_does_not_change_the_state(name: str) -> None:
    one = trained(name)
    one.loss.eval()
    before = one.loss.state_dict()
    together = one().terms
    singles = [one.rows(torch.tensor([i]))().terms for i in range(6)]
    for position, term in enumerate(together):
        assert term.values.tolist() == pytest.approx([terms[position].values.item() for terms in singles])
    see(one.loss, case(name, sets=6, seed=9))
    assert one.loss.state_dict() == before
    one.loss.train()
    see(one.loss, case(name, sets=6, seed=9))
    assert one.loss.state_dict() != before


@pytest.mark.parametrize("name", WITH_STATE)
def test_the_state_is_not_shared_and_affects_the_loss(name: str) -> None:
    one, fresh = trained(name), case(name, sets=6, seed=1)
    for loss in (one.loss, fresh.loss):
        loss.eval()
    assert one().losses.tolist() != fresh().losses.tolist()
    assert fresh.loss.state_dict() == build(name).state_dict()


def test_the_state_of_another_loss_is_refused() -> None:
    for name in TABLE:
        loss = build(name)
        with in_case(name), pytest.raises(InputError, match=f"cannot load state into {name}: expected keys"):
            loss.load_state_dict({"of_another": torch.tensor(0.0)})
        if loss.state_dict():
            with in_case(name), pytest.raises(InputError, match=name):
                loss.load_state_dict({})


@pytest.mark.parametrize("name", ["alpha_dpo", "beta_dpo"])
def test_statistics_survive_a_checkpoint_and_are_frozen_in_evaluation(name: str) -> None:
    loss = single(name)
    for seed in range(3):
        loss(*random_logps(8, seed=seed))
    saved = json.loads(json.dumps({key: float(value) for key, value in loss.state_dict().items()}))
    restored = single(name)
    restored.load_state_dict(saved)
    policy, reference = random_logps(8, seed=9)
    expected = loss.eval()(policy, reference).losses
    assert torch.equal(restored.eval()(policy, reference).losses, expected)
    assert restored.state_dict() == loss.state_dict() == saved
    fresh = build(name).eval()(policy, reference).losses
    assert not torch.allclose(fresh, expected)
    restored.train()(policy, reference)
    assert float(restored.state["steps"]) == 4


def answers(name: str, keywords: dict[str, Any]) -> list[float]:
    """Compute the losses and gradients of the last of three batches."""
    torch.manual_seed(0)
    loss = build(name, **keywords)
    for seed in (1, 2, 3):
        one = replace(case(name, sets=8, seed=seed, **keywords), loss=loss)
        leaves = one.leaves()
        losses = one.of(leaves)().losses
    losses.sum().backward()
    gradients = [leaf.grad.flatten() for leaf in leaves.values() if leaf.grad is not None]
    return torch.cat([losses.detach(), *gradients]).tolist()


def test_every_keyword_has_an_effect() -> None:
    for name in TABLE:
        for key in LOSSES[name].parameters:
            if (name, key) in OF_THE_LOOP:
                continue
            with in_case(name, {"keyword": key}):
                keyword_has_an_effect(name, key)


def taken(name: str, keywords: dict[str, Any]) -> bool:
    """Tell whether a combination is not refused, because one of its keywords has no effect."""
    try:
        build(name, **keywords)
    except RecipeError:
        return False
    return True


def keyword_has_an_effect(name: str, key: str) -> None:
    """The other keywords are at their defaults, or at one of their options."""
    spec = LOSSES[name]
    choices = {
        other: [parameter.default, *others(name, other)]
        for other, parameter in spec.parameters.items()
        if other != key and isinstance(parameter, Choice | Flag)
    }

    def matters(*values: Any) -> bool:
        settings_tried = (dict(zip(choices, options, strict=True)) for options in product(*choices.values()))
        return any(
            answers(name, tried) != answers(name, tried | {key: value})
            for tried in settings_tried
            for value in values
            if taken(name, tried) and taken(name, tried | {key: value})
        )

    if isinstance(spec.parameters[key], Choice | Flag):
        assert all(matters(option) for option in others(name, key))
    else:
        assert matters(*numbers(name, key))


def test_defaults_are_in_their_range() -> None:
    for name, spec in LOSSES.items():
        for key, parameter in {**spec.parameters, **spec.sampler}.items():
            assert parameter.check(f"{name}.{key}", parameter.default) == parameter.default
    assert Number(None).range == "(-inf, inf)"
