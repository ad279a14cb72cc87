"""Weighted sums of losses: values, keywords, state, and what is refused."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
import torch
from support.loss_cases import Case, case, golden, in_case
from support.refusals import refusal

from pairkit.errors import InputError
from pairkit.losses import WeightedSum, build


def like(name: str, one: Case, **keywords: Any) -> Case:
    """Pass the same inputs to another loss."""
    loss = build(name, **keywords)
    return replace(one, loss=loss)


def test_a_sum_is_the_weighted_sum_of_its_parts() -> None:
    """Pair A and B of the golden values: 0.8 x dpo + 0.2 x bco + sft, which is mpo."""
    one = golden("mpo")
    total = like("dpo:0.8+bco:0.2+sft", one)
    values = [0.8 * 0.55435524 + 0.2 * 1.24191410 + 2.0, 0.8 * 0.97407698 + 0.2 * 1.65187884 + 2.5]
    assert total().losses.tolist() == pytest.approx(values, abs=1e-8)
    assert [term.coefficient for term in total().terms] == pytest.approx([0.8, 0.2, 1.0])


SUMS = [
    ("dpo:0.8+bco:0.2+sft:1.0", [("dpo", 0.8), ("bco", 0.2), ("sft", 1.0)]),
    (" dpo + sft ", [("dpo", 1.0), ("sft", 1.0)]),
    ("dpo:1e+1+sft:1E-2", [("dpo", 10.0), ("sft", 0.01)]),
    ("dpo:.5", [("dpo", 0.5)]),
    ("simpo+tdpo2:3", [("simpo", 1.0), ("tdpo2", 3.0)]),
    ("mcpo+sft:0.1", [("mcpo", 1.0), ("sft", 0.1)]),
    ("lipo+pro+kto:2", [("lipo", 1.0), ("pro", 1.0), ("kto", 2.0)]),
    ("alpha_dpo+beta_dpo+aot", [("alpha_dpo", 1.0), ("beta_dpo", 1.0), ("aot", 1.0)]),
]


@pytest.mark.parametrize(("name", "parts"), SUMS)
def test_values_and_gradients_of_sums(name: str, parts: list[tuple[str, float]]) -> None:
    """On pairs, which losses on sets take as well."""
    torch.manual_seed(0)
    one = case(name, completions=2, sets=6)
    assert isinstance(one.loss, WeightedSum)
    assert [(part.name, weight) for weight, part in one.loss.parts] == parts
    assert one.loss.needs == frozenset().union(*(build(part).needs for part, _ in parts))
    whole, singles = one.leaves(), one.leaves()
    torch.manual_seed(1)
    losses = one.of(whole)().losses
    losses.sum().backward()
    torch.manual_seed(1)
    apart = [weight * like(part, one.of(singles))().losses for part, weight in parts]
    torch.stack(apart).sum().backward()
    torch.testing.assert_close(losses, torch.stack(apart).sum(0))
    for field, leaf in whole.items():
        torch.testing.assert_close(leaf.grad, singles[field].grad)


def test_a_sum_takes_what_its_parts_take() -> None:
    loss = build("simpo+mcpo+sft", negatives=3)
    assert loss.completions == "set"
    assert loss.sampler == build("mcpo", negatives=3).sampler
    assert loss.needs == {"reference"}
    assert loss.beta == 2.0
    assert build("sft+dpo").beta == 0.1
    assert build("sft+dpo").sampler == {}
    assert build("sft+dpo").completions == "pair"
    assert build("dpo+kto").completions == "labeled"
    assert build("sft:2").completions == "first"
    assert build("sft:2").beta == 1.0


def test_a_sum_has_the_rewards_and_metrics_of_its_first_part() -> None:
    one = golden("bco+sft")
    assert torch.equal(one().rewards, like("bco", one)().rewards)
    assert set(one().metrics) == set(like("bco", one)().metrics)


def test_keywords_of_a_sum() -> None:
    def parameters(**keywords: Any) -> dict[str, Any]:
        return {part.name: part.parameters for _, part in build("dpo+simpo+sft", **keywords).parts}

    everywhere = parameters(beta=0.7)
    assert everywhere["dpo"]["beta"] == everywhere["simpo"]["beta"] == 0.7
    assert parameters(gamma=0.3)["simpo"]["gamma"] == 0.3
    of_one = parameters(dpo={"beta": 0.2})
    assert (of_one["dpo"]["beta"], of_one["simpo"]["beta"]) == (0.2, 2.0)
    for keywords in ({"beta": 0.7, "dpo": {"beta": 0.2}}, {"dpo": {"beta": 0.2}, "beta": 0.7}):
        both = parameters(**keywords)
        assert (both["dpo"]["beta"], both["simpo"]["beta"]) == (0.2, 0.7)
    described = build("dpo:2+sft", beta=0.7).describe()
    assert described == {"name": "dpo:2+sft", "dpo": {"beta": 0.7, "label_smoothing": 0.0}, "sft": {}}


@pytest.mark.parametrize(
    ("name", "keywords", "message"),
    [
        ("dpo+dpo", {}, "a loss appears twice; add its weights"),
        ("dpo:0.5+sft+dpo:0.5", {}, "a loss appears twice; add its weights"),
        ("mcpo+rnce", {}, "only one part may sample its own negatives"),
        ("dpo:0+sft", {}, "the weight of dpo must be a number above 0, got '0'"),
        ("dpo+sft:-1", {}, "the weight of sft must be a number above 0, got '-1'"),
        ("dpo+sft:high", {}, "the weight of sft must be a number above 0, got 'high'"),
        ("dpo+sft:inf", {}, "the weight of sft must be a number above 0, got 'inf'"),
        ("dpo+sft:nan", {}, "the weight of sft must be a number above 0, got 'nan'"),
        ("dpo+sft:1.2.3", {}, "the weight of sft must be a number above 0, got '1.2.3'"),
        ("dpo+", {}, "cannot parse loss"),
        ("dpo++sft", {}, "cannot parse loss"),
        ("dpo:1:2", {}, "cannot parse loss"),
        ("dpo:", {}, "cannot parse loss"),
        ("", {}, "cannot parse loss"),
        ("dpo+sfft", {}, "unknown loss 'sfft'; did you mean 'sft'?"),
        ("dpo+sft", {"betta": 1.0}, "unknown keyword of dpo+sft 'betta'; did you mean 'beta'?"),
        ("dpo+sft", {"gamma": 1.0}, "unknown keyword of dpo+sft 'gamma'"),
        ("dpo+sft", {"dpo": {"betta": 1.0}}, "unknown keyword of dpo 'betta'; did you mean 'beta'?"),
        ("dpo+sft", {"sft": {"beta": 1.0}}, "unknown keyword of sft 'beta'"),
        ("dpo+sft", {"dpo": 0.8}, "dpo must map that part's keywords to values, got 0.8"),
        ("dpo+sft", {"beta": -1.0}, "dpo.beta must be in (0, inf)"),
        ("dpo+simpo", {"gamma": 1.0, "simpo": {"gamma_beta_ratio": 1.0}}, "conflict: set only one"),
        ("dpo", {"dpo": {"beta": 1.0}}, "unknown keyword of dpo 'dpo'"),
    ],
)
def test_sums_that_cannot_be_built_are_refused(name: str, keywords: dict[str, Any], message: str) -> None:
    assert message in refusal(name, **keywords)


def test_the_state_of_a_sum_is_its_parts_by_name() -> None:
    one = case("bco:0.5+alpha_dpo+sft", sets=6)
    one()
    state = one.loss.state_dict()
    assert set(state) == {"bco", "alpha_dpo", "sft"}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    fresh = case("bco:0.5+alpha_dpo+sft", sets=6)
    assert fresh.loss.state_dict() != state
    fresh.loss.load_state_dict(torch.load(buffer, weights_only=True))
    assert fresh.loss.state_dict() == state
    assert fresh.loss.eval() is fresh.loss
    assert fresh().losses.tolist() == replace(one, loss=one.loss.eval())().losses.tolist()
    assert fresh.loss.state_dict() == state
    fresh.loss.train()
    fresh()
    assert fresh.loss.state_dict() != state


def test_the_state_of_another_sum_is_refused() -> None:
    loss = build("bco+alpha_dpo+sft")
    for other in ["bco+alpha_dpo", "bco+sft", "bco+alpha_dpo+sft+dpo", "alpha_dpo", "sft"]:
        with in_case(other), pytest.raises(InputError):
            loss.load_state_dict(build(other).state_dict())
    with pytest.raises(InputError):
        loss.load_state_dict(loss.state_dict() | {"bco": {}})
