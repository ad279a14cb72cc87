"""Gradients of every row of the table, and where none may flow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from support.loss_cases import TABLE, WITH_STATISTICS, case, in_case, variants
from support.loss_gradients import gradients_agree
from torch import Tensor

from pairkit.losses import LOSSES

# Losses with a factor or margin that is computed from the log-probs without gradient. Their finite
# differences are right only if that part is held at its value of the base point. All others are
# differentiated as they are, because that finds a superfluous `detach`.
HELD = {
    "alpha_dpo": "its margin, with stop_gradient",
    "aot_unpaired": "half of each match, which has its gradient in another row",
    "tdpo2": "the token KL of the chosen completion",
    "wpo": "its weight",
}


def holds(name: str, keywords: Mapping[str, Any]) -> bool:
    return name in HELD and keywords.get("stop_gradient", True)


@pytest.mark.default(
    "pairrm", "sft", "reward_pl", "reward_bt", "simper", "dpo_norm", "sppo", "bco", "orpo", "ipo", "aot",
    "dpo", "dpop", "slic_hf", "rnce", "mcpo", "cpo", "rrhf", "kto", "pro", "tdpo2", "nca", "ld_dpo",
    "stapo", "beta_dpo", "f_dpo", "simpo", "alpha_dpo"
)  # fmt: skip
@pytest.mark.parametrize("name", TABLE)
def test_gradients_by_finite_differences(name: str) -> None:
    """With each keyword at its other options; statistics of the batch are constants, from the base point."""
    for keywords in variants(name):
        with in_case(name, keywords):
            one = case(name, sets=3, seed=1, **keywords).observed()
            assert gradients_agree(one, hold=holds(name, keywords))


def test_held_parts_depend_on_the_log_probs() -> None:
    """Otherwise they need not be in `HELD`."""
    for name in HELD.keys() & LOSSES.keys():
        assert not gradients_agree(case(name, seed=1).observed(), hold=False), name


def test_no_gradient_flows_through_statistics() -> None:
    """A loss that observes its own batch: the statistics are those of the base point."""
    for name in WITH_STATISTICS:
        assert gradients_agree(case(name, sets=6, seed=1), hold=True), name


def test_the_gradient_of_unpaired_transport_is_that_of_the_batch() -> None:
    """Two rows share a match: the batch's sum agrees with finite differences, with nothing held."""
    one = case("aot_unpaired", sets=6, seed=1)

    def total(values: Tensor) -> Tensor:
        return one.of({"sum": values})().losses.sum()

    assert torch.autograd.gradcheck(total, (one.leaves()["sum"],))


def test_reference_and_scores_get_no_gradient() -> None:
    for name in TABLE:
        for keywords in variants(name):
            with in_case(name, keywords):
                reference_and_scores_get_no_gradient(name, keywords)


def reference_and_scores_get_no_gradient(name: str, keywords: dict[str, Any]) -> None:
    one = case(name, **keywords)
    one = one.of(one.leaves())
    fields = one.reference.tensors() if one.reference else {}
    of_reference = {key: v.clone().requires_grad_() for key, v in fields.items() if v.is_floating_point()}
    scores = None if one.scores is None else one.scores.clone().requires_grad_()
    reference = one.reference and replace(one.reference, **of_reference)
    result = replace(one, reference=reference, scores=scores)()
    result.losses.sum().backward()
    assert [value.grad for value in of_reference.values()] == [None] * len(of_reference)
    assert scores is None or scores.grad is None
    assert one.policy.sum.grad is not None
    assert one.policy.sum.grad.abs().sum() > 0


def test_output() -> None:
    for name in TABLE:
        for keywords in variants(name):
            with in_case(name, keywords):
                check_output(name, keywords)


def check_output(name: str, keywords: dict[str, Any]) -> None:
    """The losses are those of the terms; rewards and metrics carry no gradient."""
    one = case(name, **keywords)
    one = one.of(one.leaves())
    result = one()
    assert result.losses.shape == (4,)
    assert result.rewards.shape == one.policy.sum.shape
    assert not result.rewards.requires_grad
    assert result.losses.mean().item() == pytest.approx(
        sum(t.coefficient * (t.values.sum() / t.weights.sum()).item() for t in result.terms)
    )
    for term in result.terms:
        assert term.values.shape == term.weights.shape == (4,)
        assert term.weights.isfinite().all()
        assert (term.weights >= 0).all()
        assert not term.weights.requires_grad
    for value in result.metrics.values():
        assert value.ndim == 0
        assert value.isfinite()
        assert not value.requires_grad


def test_weights_do_not_depend_on_the_log_probs() -> None:
    for name in TABLE:
        for keywords in variants(name):
            with in_case(name, keywords):
                one = case(name, **keywords).observed()
                other = one.of(case(name, seed=5, **keywords).leaves())
                first, second = one().terms, other().terms
                assert [t.weights.tolist() for t in first] == [t.weights.tolist() for t in second]
                assert [t.coefficient for t in first] == [t.coefficient for t in second]


def test_rewards_are_log_ratios_or_mean_log_probs_times_beta() -> None:
    """Of sums with a reference, of means without one, except for two losses whose logit is of means."""
    for name in TABLE:
        with in_case(name):
            one = case(name)
            ratio = one.policy.sum - one.reference.sum if one.reference else one.policy.mean
            if name == "dpo_norm":
                ratio = ratio / one.policy.length
            if name == "alpha_dpo":
                ratio = one.policy.mean
            if one.loss.trains != "policy":
                ratio = one.policy.sum
            torch.testing.assert_close(one().rewards, one.loss.beta * ratio)


@pytest.mark.parametrize("name", ["alpha_dpo", "dpo_norm", "simpo"])
def test_rewards_of_losses_on_means_are_in_the_unit_of_their_logit(name: str) -> None:
    """The derivative of a pair's loss by its reward margin is then sigmoid of the logit, less 1."""
    for normalized in (True, False)[: 1 if name == "dpo_norm" else 2]:
        keywords = {} if normalized else {"length_normalized": False}
        one = case(name, **keywords).observed()
        leaf = one.leaves()["sum"]
        result = one.of({"sum": leaf})()
        (slope,) = torch.autograd.grad(result.losses.sum(), leaf)  # [B, 2], d loss / d sum
        units = one.policy.length if normalized else torch.ones_like(one.policy.length)
        by_reward = slope * units / one.loss.beta
        torch.testing.assert_close(by_reward, torch.stack([a := by_reward[:, 0], -a], dim=1))
        torch.testing.assert_close(a, torch.exp(-result.losses) - 1)
