"""A global batch in micro-batches: same objective and gradient, whatever the order of its sets."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.loss_cases import TABLE, case, in_case, variants
from support.tensors import in_parts, random_logps, single, value_and_gradient
from torch import Tensor

from pairkit.losses import LossOutput, build


def objective(parts: list[LossOutput]) -> Tensor:
    """Compute what the loop minimizes: each term's sum over all parts, divided by the sum of its weights."""
    total = torch.zeros((), dtype=torch.float64)
    for terms in zip(*(part.terms for part in parts), strict=True):
        weight = sum(float(term.weights.sum()) for term in terms)
        total = (
            total + sum((term.coefficient * term.values.sum() for term in terms), torch.zeros(())) / weight
        )
    return total


def samples_rows(loss: Any) -> bool:
    """Check whether the loss samples something per row, which then depends on the row's seed."""
    observers = [part.statistics.observe for _, part in loss.parts if part.statistics]
    return any("seeds" in inspect.signature(observe).parameters for observe in observers)


@pytest.mark.default(
    "pairrm", "reward_pl", "reward_bt", "sft", "dpo", "rnce", "mcpo", "wpo", "tdpo2", "orpo", "bco", "kto",
    "ipo", "aot", "lipo", "infonca", "ld_dpo", "alpha_dpo", "beta_dpo", "mpo", "nca", "exo", "f_dpo",
    "stapo"
)  # fmt: skip
@pytest.mark.parametrize("name", TABLE)
def test_micro_batches_make_the_whole_batch(name: str) -> None:
    for keywords in variants(name):
        with in_case(name, keywords):
            one = case(name, sets=8, seed=3, **keywords).observed()
            results = []
            for rows in (8, 4, 1):
                leaves = one.leaves()
                parts = [one.of(leaves).rows(index)() for index in torch.arange(8).split(rows)]
                value = objective(parts)
                value.backward()
                results.append([value, *(leaf.grad for leaf in leaves.values() if leaf.grad is not None)])
            for whole, *splits in zip(*results, strict=True):
                assert whole is not None
                for split in splits:
                    torch.testing.assert_close(split, whole, rtol=1e-10, atol=1e-12)


def test_the_objective_of_the_whole_batch_is_its_mean_loss() -> None:
    """Called directly, a loss observes its own batch: the same objective as in parts of an observed one."""
    for name in TABLE:
        with in_case(name):
            bare, observed = case(name, sets=8, seed=3), case(name, sets=8, seed=3).observed()
            result = bare()
            assert objective([result]).item() == pytest.approx(result.losses.mean().item())
            if not samples_rows(bare.loss):
                assert objective([result]).item() == pytest.approx(objective([observed()]).item())


@settings(max_examples=3)
@given(order=st.permutations(range(6)), seed=st.integers(0, 2**31))
def test_the_order_of_the_sets_does_not_matter(order: list[int], seed: int) -> None:
    index = torch.tensor(order)
    for name in TABLE:
        with in_case(name):
            one = case(name, sets=6, seed=seed).observed()
            assert one.rows(index)().losses.tolist() == pytest.approx(one().losses[index].tolist(), rel=1e-10)
            # Nor for the statistics themselves, except for what is sampled per row.
            if not samples_rows(one.loss):
                plain, permuted = case(name, sets=6, seed=seed), case(name, sets=6, seed=seed).rows(index)
                assert permuted().losses.tolist() == pytest.approx(plain().losses[index].tolist(), rel=1e-10)


@settings(max_examples=3)
@given(seed=st.integers(0, 2**31))
def test_the_terms_of_a_set_are_the_same_alone_and_among_others(seed: int) -> None:
    """Given the statistics."""
    for name in TABLE:
        with in_case(name):
            one = case(name, sets=5, seed=seed).observed()
            singles = [one.rows(torch.tensor([i]))().terms for i in range(5)]
            for position, term in enumerate(one().terms):
                values = [terms[position].values.item() for terms in singles]
                assert term.values.tolist() == pytest.approx(values)
                assert term.weights.tolist() == [terms[position].weights.item() for terms in singles]
                assert {terms[position].coefficient for terms in singles} == {term.coefficient}


# --- losses with running statistics, after a batch that they have already seen


@pytest.mark.parametrize("name", ["alpha_dpo", "beta_dpo", "amapo"])
@pytest.mark.parametrize("keywords", [{}, {"momentum": 0.0}, {"stop_gradient": False, "alpha": 0.2}])
def test_a_batch_in_parts_has_the_same_objective_and_gradient(name: str, keywords: dict[str, Any]) -> None:
    keywords = {key: value for key, value in keywords.items() if key in build(name).parameters}
    policy, reference = random_logps(9, seed=7)
    parts, parted, seeds = single(name, **keywords), single(name, **keywords), torch.arange(9)
    for loss in (parts, parted):  # a past, so that the batch is not all that the averages know
        loss.observe(*random_logps(9, seed=8), seeds)
    objective, gradient = in_parts(parted, policy, reference, seeds)
    rows = parts.observe(policy, reference, seeds)
    losses, whole = value_and_gradient(parts, policy, reference, statistics=rows)
    assert objective.item() == pytest.approx(losses.mean().item(), rel=1e-12)
    assert torch.allclose(gradient, whole / 9, atol=1e-14, rtol=1e-12)
    assert parts.state_dict() == parted.state_dict()


@pytest.mark.parametrize("name", ["alpha_dpo", "amapo"])
def test_a_direct_call_observes_its_batch_first(name: str) -> None:
    policy, reference = random_logps(9, seed=7)
    objective, gradient = in_parts(single(name), policy, reference, torch.arange(9))
    losses, whole = value_and_gradient(single(name), policy, reference)
    assert objective.item() == pytest.approx(losses.mean().item(), rel=1e-12)
    assert torch.allclose(gradient, whole / 9, atol=1e-14, rtol=1e-12)
