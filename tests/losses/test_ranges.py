"""Ranges of hyper-parameters: accepted at their ends, refused beyond, and what each range is."""

from __future__ import annotations

import math
from typing import Any

import torch
from support.loss_cases import TABLE, allowed, golden
from support.refusals import keywords_of, refusal

from pairkit.losses import Loss, build
from pairkit.losses.parameters import SMALLEST, Flag, Integer, Number

KEYWORDS = [(name, key) for name in TABLE for key in keywords_of(name)]
RANGED = [(name, key) for name, key in KEYWORDS if isinstance(keywords_of(name)[key], Number | Integer)]
# What a keyword needs to have an effect.
READ_WITH: dict[tuple[str, str], dict[str, Any]] = {("alpha_dpo", "stats_every"): {"stats": "dataset"}}

# Written out, because the tests below read the ranges from the table.
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("robust_dpo", {"label_smoothing": 0.5}, "must be in [0, 0.5)"),
    ("exo", {"label_smoothing": 0.0}, "must be in (0, 0.5)"),
    ("f_dpo", {"alpha": 1.0}, "must be in [0, 1)"),
    ("f_dpo", {"divergence": "kl"}, "value of f_dpo.divergence"),
    ("ipo", {"reduction": "token_mean"}, "value of ipo.reduction"),
    ("rpo", {"nll_reduction": "mean"}, "value of rpo.nll_reduction"),
    ("ld_dpo", {"alpha": 1.5}, "must be in [0, 1]"),
    ("tdpo2", {"alpha": -0.1}, "must be in [0, inf)"),
    ("ropo", {"alpha": 0.0}, "must be in (0, inf)"),
    ("spo", {"z_clip": 0.1}, "must be in (-inf, 0]"),
    ("r_dpo", {"length_weight": -1.0}, "must be in [0, inf)"),
    ("r_dpo", {"length_inside_beta": 1}, "true or false"),
    ("kto", {"undesirable_weight": -1.0}, "must be in [0, inf)"),
    (
        "stapo",
        {"left_margin": 0.9},
        "stapo.left_margin must be at most stapo.right_margin, got 0.9 > 0.8",
    ),
    ("stapo", {"right_margin": 0.5}, "must be at most stapo.right_margin, got 0.6 > 0.5"),
    ("cpo", {"beta": 0.0}, "cpo.beta must be in (0, inf)"),
    ("cpo", {"nll_weight": -0.1}, "cpo.nll_weight must be in [0, inf)"),
    ("cpo", {"nll_reduction": "mean"}, "value of cpo.nll_reduction"),
    ("slic_hf", {"delta": -1.0}, "slic_hf.delta must be in [0, inf)"),
    ("orpo", {"odds_weight": -1.0}, "orpo.odds_weight must be in [0, inf)"),
    ("alphapo", {"beta": -1.0}, "alphapo.beta must be in (0, inf)"),
    ("simper", {"beta": 1.0}, "keyword of simper"),
    ("infonca", {"temperature": 0.0}, "infonca.temperature must be in (0, inf)"),
    ("nca", {"beta": 0.0}, "nca.beta must be in (0, inf)"),
    ("exo_rw", {"reward_temperature": -1.0}, "exo_rw.reward_temperature must be in (0, inf)"),
    ("lipo", {"beta": -0.1}, "lipo.beta must be in (0, inf)"),
    ("pro", {"nll_weight": -0.1}, "pro.nll_weight must be in [0, inf)"),
    ("rrhf", {"nll_weight": -0.1}, "rrhf.nll_weight must be in [0, inf)"),
    ("alpha_dpo", {"beta": 0.0}, "alpha_dpo.beta must be in (0, inf)"),
    ("alpha_dpo", {"alpha": -0.1}, "alpha_dpo.alpha must be in [0, inf)"),
    ("alpha_dpo", {"momentum": 1.0}, "alpha_dpo.momentum must be in [0, 1)"),
    ("alpha_dpo", {"implicit_reference": "policy_only"}, "value of alpha_dpo.implicit_reference"),
    ("alpha_dpo", {"margin": "kl"}, "value of alpha_dpo.margin"),
    ("alpha_dpo", {"stats": "exact"}, "value of alpha_dpo.stats"),
    ("alpha_dpo", {"stats_every": 2}, "alpha_dpo.stats_every has no effect with alpha_dpo.stats=corrected"),
    (
        "alpha_dpo",
        {"stats_every": 2, "stats": "official"},
        "alpha_dpo.stats_every has no effect with alpha_dpo.stats=official",
    ),
    (
        "alpha_dpo",
        {"momentum": 0.5, "stats": "dataset"},
        "alpha_dpo.momentum has no effect with alpha_dpo.stats=dataset: leave it out",
    ),
    (
        "alpha_dpo",
        {"momentum": 0.5, "normalize": False},
        "alpha_dpo.momentum has no effect with alpha_dpo.normalize=false: leave it out",
    ),
    (
        "alpha_dpo",
        {"stats": "dataset", "normalize": False},
        "alpha_dpo.stats has no effect with alpha_dpo.normalize=false: leave it out",
    ),
    ("alpha_dpo", {"normalize": 1}, "alpha_dpo.normalize must be true or false"),
    ("beta_dpo", {"filter_fraction": 1.0}, "beta_dpo.filter_fraction must be in [0, 1)"),
    ("beta_dpo", {"a": -0.5}, "beta_dpo.a must be in [0, inf)"),
    ("amapo", {"beta": -2.5}, "amapo.beta must be in (0, inf)"),
]


def test_values_out_of_range_are_refused() -> None:
    for name, keywords, message in REFUSED:
        text = refusal(name, **keywords)
        assert message in text
        assert name in text


def test_what_has_no_effect_may_be_at_its_default() -> None:
    """As in a recipe that lists all keywords."""
    build("alpha_dpo", **{"normalize": False, "momentum": 0.9, "stats": "corrected", "stats_every": None})
    build("alpha_dpo", stats="dataset", stats_every=2, momentum=0.9)


def test_every_range_holds_at_its_ends() -> None:
    for name, key in RANGED:
        range_holds_at_its_ends(name, key)


def range_holds_at_its_ends(name: str, key: str) -> None:
    parameter = keywords_of(name)[key]
    assert isinstance(parameter, Number | Integer)
    inside: list[Any]
    tiny = []
    if isinstance(parameter, Integer):
        low = parameter.low
        assert low is not None
        inside, outside = [low, low + 7], [low - 1, float(low), 1.5]
    else:
        ends = [(parameter.low, parameter.open_low), (parameter.high, parameter.open_high)]
        inside = [end for end, is_open in ends if not is_open and math.isfinite(end)]
        outside = [end for end, is_open in ends if is_open and math.isfinite(end)]
        if math.isfinite(parameter.low):
            outside.append(min(math.nextafter(parameter.low, -math.inf), parameter.low - SMALLEST))
        if math.isfinite(parameter.high):
            inside.append(min(math.nextafter(parameter.high, -math.inf), parameter.high - SMALLEST))
            outside.append(max(math.nextafter(parameter.high, math.inf), parameter.high + SMALLEST))
        near = [value for value in (SMALLEST, -SMALLEST) if allowed(name, key, value)]
        inside += near
        tiny = [
            small for value in near for small in (math.nextafter(value, 0.0), math.copysign(5e-324, value))
        ]
    for value in inside:
        loss = build(name, **READ_WITH.get((name, key), {}), **{key: value})
        assert isinstance(loss, Loss)
        assert (loss.parameters | loss.sampler)[key] == value
    for value in outside:
        message = refusal(name, **{key: value})
        assert message.startswith(f"{name}.{key} must be ")
        assert repr(value) in message or str(value) in message
        if isinstance(parameter, Number):
            assert f"must be in {parameter.range}" in message
    for value in tiny:
        assert refusal(name, **{key: value}) == (
            f"{name}.{key} must be 0 or at least 1e-18 in size, "
            f"because float32 cannot divide by less, got {value}"
        )


def test_values_that_are_not_numbers_are_refused() -> None:
    for name, key in RANGED:
        for value in (math.nan, math.inf, -math.inf, True, "0.1", "high", [0.1]):
            assert must_be_a_number(refusal(name, **{key: value}), f"{name}.{key}")


def must_be_a_number(message: str, keyword: str) -> bool:
    return message.startswith((f"{keyword} must be a number, got ", f"{keyword} must be an integer"))


def test_none_is_a_value_only_where_it_is_the_default() -> None:
    for name, key in RANGED:
        if keywords_of(name)[key].default is None:
            build(name, **{key: None})
        else:
            assert must_be_a_number(refusal(name, **{key: None}), f"{name}.{key}")


def test_a_flag_must_be_true_or_false() -> None:
    flags = [(name, key) for name, key in KEYWORDS if isinstance(keywords_of(name)[key], Flag)]
    assert flags
    for name, key in flags:
        for value in (0, 1, "true", "no", None):
            assert refusal(name, **{key: value}) == f"{name}.{key} must be true or false, got {value!r}"


def test_the_margin_of_simpo_is_set_only_once() -> None:
    assert refusal("simpo", gamma=1.0, gamma_beta_ratio=0.5) == (
        "simpo.gamma and simpo.gamma_beta_ratio conflict: set only one"
    )
    build("simpo", gamma=None, gamma_beta_ratio=0.5)
    build("simpo", gamma=0.0)


def test_gamma_is_beta_times_the_ratio() -> None:
    by_ratio = golden("simpo", beta=4.0, gamma_beta_ratio=0.5)().losses
    assert torch.equal(golden("simpo", beta=4.0, gamma=2.0)().losses, by_ratio)
    assert not torch.equal(golden("simpo", beta=4.0, gamma=0.0)().losses, by_ratio)


def test_the_left_margin_must_not_exceed_the_right_one() -> None:
    assert (
        refusal("stapo", left_margin=1.0)
        == "stapo.left_margin must be at most stapo.right_margin, got 1 > 0.8"
    )
    assert "got 0.6 > 0.5" in refusal("stapo", right_margin=0.5)
    build("stapo", left_margin=0.8)


def test_proposals_are_all_by_default() -> None:
    assert build("mcpo", proposals="all").sampler == build("mcpo").sampler
    assert build("mcpo", proposals=2).sampler["proposals"] == 2
    assert "an integer >= 1" in refusal("mcpo", proposals="some")


def test_the_sampling_of_mcpo_and_rnce_is_fixed() -> None:
    assert "unknown keyword of rnce" in refusal("rnce", sampling="mc")
    assert "unknown value of mcpo.sampling 'worst'" in refusal("mcpo", sampling="worst")
