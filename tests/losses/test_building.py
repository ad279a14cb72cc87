"""From what a user writes to a loss: names, keywords and ranges, weighted sums, functions from outside."""

from __future__ import annotations

import io
import math
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from difflib import SequenceMatcher
from itertools import count
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import torch
from support.loss_cases import PAIR_LOSSES, TABLE, Case, allowed, case, golden, variants

from pairkit.errors import InputError, RecipeError
from pairkit.losses import LOSSES, Extras, Logps, Loss, WeightedSum, build, loss_spec
from pairkit.losses.parameters import SMALLEST, Choice, Flag, Integer, Number, Parameter

# The names, keywords and defaults that users and recipes rely on: a change to one of them breaks theirs.
# A new loss need not stand here.
PUBLIC: dict[str, dict[str, Any]] = {
    "sft": {},
    "dpo": {"beta": 0.1, "label_smoothing": 0},
    "robust_dpo": {"beta": 0.1, "label_smoothing": 0.1},
    "ipo": {"beta": 0.1, "reduction": "mean"},
    "hinge": {"beta": 0.05},
    "slic_hf": {"delta": 1.0, "nll_weight": 0.1},
    "rrhf": {"nll_weight": 1.0},
    "cpo": {"beta": 0.1, "nll_weight": 1.0, "nll_reduction": "token_mean"},
    "cpo_simpo": {"beta": 10, "gamma": 5.4, "nll_weight": 0.05},
    "simpo": {"beta": 2.0, "gamma_beta_ratio": 0.25, "gamma": None, "label_smoothing": 0},
    "orpo": {"odds_weight": 0.1},
    "r_dpo": {"beta": 0.1, "length_weight": 0.05, "length_inside_beta": False},
    "kto": {"beta": 0.1, "desirable_weight": 1, "undesirable_weight": 1},
    "bco": {"beta": 0.1},
    "apo_zero": {"beta": 0.1},
    "apo_down": {"beta": 0.1},
    "sppo": {"beta": 0.001},
    "nca": {"beta": 0.01, "temperature": 1e-4},
    "exo": {"beta": 0.1, "label_smoothing": 1e-3},
    "dpop": {"beta": 0.1, "penalty_weight": 50},
    "rpo": {"beta": 0.1, "nll_weight": 0.1, "nll_reduction": "token_mean"},
    "minor_dpo": {"beta": 0.1},
    "spo": {"beta": 0.1, "alpha": 0.1, "z_clip": None},
    "stapo": {"beta": 2.0, "left_margin": 0.6, "right_margin": 0.8, "logit": "simpo"},
    "alpha_dpo": {
        "beta": 10,
        "gamma_beta_ratio": 0.4,
        "alpha": 0.05,
        "implicit_reference": "ratio",
        "normalize": True,
        "stop_gradient": True,
        "length_normalized": True,
        "margin": "sequence",
        "alpha_scale": "code",
        "momentum": 0.9,
        "stats": "corrected",
    },
    "beta_dpo": {"beta": 0.1, "a": 0.6, "filter_fraction": 0.2, "momentum": 0.9},
    "simper": {},
    "ropo": {"beta": 0.1, "alpha": 14},
    "discopop": {"beta": 0.05, "temperature": 0.05},
    "aot": {"beta": 0.01, "label_smoothing": 0},
    "aot_unpaired": {"beta": 0.01, "label_smoothing": 0},
    "dpo_norm": {"beta": 5},
    "wpo": {"beta": 0.01},
    "tdpo1": {"beta": 0.1},
    "tdpo2": {"beta": 0.1, "alpha": 0.5},
    "f_dpo": {"beta": 0.1, "divergence": "reverse_kl", "alpha": 0.5},
    "alphapo": {"alpha": 0.25, "beta": 2.5, "gamma": 0.1},
    "amapo": {"beta": 2.5},
    "ld_dpo": {"beta": 0.1, "alpha": 0.5},
    "mpo": {"dpo_weight": 0.8, "bco_weight": 0.2, "sft_weight": 1.0, "beta": 0.1},
    "rnce": {"beta": 0.01, "negatives": 1},
    "mcpo": {
        "beta": 0.01,
        "negatives": 1,
        "sampling": "mc",
        "weights": "reward",
        "include_chosen": False,
        "replacement": False,
        "steps": 1,
        "proposals": None,
    },
    "infonca": {"beta": 0.01, "temperature": 1e-4},
    "lipo": {"beta": 0.05},
    "pro": {"nll_weight": 0.05},
    "exo_rw": {"beta": 0.1, "reward_temperature": 1.0},
}
OPTIONS = {
    ("ipo", "reduction"): {"mean", "sum"},
    ("cpo", "nll_reduction"): {"token_mean", "sum"},
    ("rpo", "nll_reduction"): {"token_mean", "sum"},
    ("stapo", "logit"): {"simpo", "dpo"},
    ("alpha_dpo", "implicit_reference"): {"ratio", "policy", "reference", "inverse_reference"},
    ("alpha_dpo", "margin"): {"sequence", "token_kl"},
    ("alpha_dpo", "alpha_scale"): {"code", "paper"},
    ("alpha_dpo", "stats"): {"corrected", "official"},
    ("f_dpo", "divergence"): {"reverse_kl", "forward_kl", "js", "alpha"},
    ("mcpo", "sampling"): {"mc", "max", "min", "random"},
    ("mcpo", "weights"): {"reward", "logprob"},
}


def keywords_of(name: str) -> dict[str, Parameter]:
    return {**LOSSES[name].parameters, **LOSSES[name].sampler}


KEYWORDS = [(name, key) for name in TABLE for key in keywords_of(name)]
RANGED = [(name, key) for name, key in KEYWORDS if isinstance(keywords_of(name)[key], Number | Integer)]


def ids(pairs: list[tuple[str, str]]) -> list[str]:
    return [f"{name}-{key}" for name, key in pairs]


def refusal(name: str, **keywords: Any) -> str:
    """What `build` says of it."""
    with pytest.raises(RecipeError) as error:
        build(name, **keywords)
    return str(error.value)


# --- names and keywords ----------------------------------------------------------------------------------


def test_names_keywords_and_defaults_are_the_public_ones() -> None:
    for name, keywords in PUBLIC.items():
        assert {key: parameter.default for key, parameter in keywords_of(name).items()} == keywords
    for (name, key), options in OPTIONS.items():
        parameter = keywords_of(name)[key]
        assert isinstance(parameter, Choice)
        assert set(parameter.options) == options


def test_every_public_keyword_can_be_given_as_it_is_by_default() -> None:
    for name, keywords in PUBLIC.items():
        given = {key: value for key, value in keywords.items() if value is not None}
        loss = build(name, **given)
        assert loss.describe() == build(name).describe()
        assert isinstance(loss, Loss)
        assert loss.parameters | loss.sampler == keywords


def misspelt(name: str) -> str:
    """Without one of its letters, or with one twice where there is only one."""
    return next((name[:i] + name[i + 1 :] for i in range(1, len(name)) if name[:i] + name[i + 1 :]), 2 * name)


def suggested(message: str, wrong: str, right: str) -> bool:
    """Whether it names the right word, or one that is as near."""
    found = re.search(r"did you mean '(\w+)'\?", message)
    return bool(found) and near(found[1], wrong) >= near(right, wrong)  # type: ignore[index]


def near(word: str, to: str) -> float:
    return SequenceMatcher(None, to, word).ratio()


@pytest.mark.parametrize("name", TABLE)
def test_an_unknown_name_gets_the_nearest(name: str) -> None:
    wrong = next(name[:i] + name[i + 1 :] for i in range(len(name)) if name[:i] + name[i + 1 :] not in LOSSES)
    message = refusal(wrong)
    assert f"unknown loss '{wrong}'" in message
    assert suggested(message, wrong, name)
    assert message.endswith(f"Known: {', '.join(sorted(LOSSES))}")


@pytest.mark.parametrize(("name", "key"), KEYWORDS, ids=ids(KEYWORDS))
def test_an_unknown_keyword_gets_the_nearest(name: str, key: str) -> None:
    wrong = misspelt(key)
    message = refusal(name, **{wrong: 1})
    assert f"unknown keyword of {name} '{wrong}'" in message
    assert suggested(message, wrong, key)
    assert message.endswith(f"Known: {', '.join(sorted(keywords_of(name)))}")


def test_a_loss_without_keywords_says_so() -> None:
    assert refusal("simper", beta=1.0) == "unknown keyword of simper 'beta'; Known: none"


# --- ranges ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "key"), RANGED, ids=ids(RANGED))
def test_every_range_holds_at_its_ends(name: str, key: str) -> None:
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
        loss = build(name, **{key: value})
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
            f"{name}.{key} must be 0 or at least 1e-18 in size, because float32 cannot divide by less, got {value}"
        )


@pytest.mark.parametrize(("name", "key"), RANGED, ids=ids(RANGED))
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, True, "0.1", "high", [0.1]])
def test_what_is_no_number_is_refused(name: str, key: str, value: Any) -> None:
    assert refusal(name, **{key: value}).startswith(
        (f"{name}.{key} must be a number", f"{name}.{key} must be an integer")
    )


@pytest.mark.parametrize(("name", "key"), RANGED, ids=ids(RANGED))
def test_none_is_a_value_only_where_it_is_the_default(name: str, key: str) -> None:
    if keywords_of(name)[key].default is None:
        build(name, **{key: None})
    else:
        assert refusal(name, **{key: None}).startswith(
            (f"{name}.{key} must be a number", f"{name}.{key} must be an integer")
        )


@pytest.mark.parametrize(("name", "key"), sorted(OPTIONS))
def test_a_wrong_option_gets_the_nearest(name: str, key: str) -> None:
    for option in OPTIONS[name, key]:
        build(name, **{key: option})
        message = refusal(name, **{key: misspelt(option)})
        assert f"unknown value of {name}.{key}" in message
        assert suggested(message, misspelt(option), option)
        assert message.endswith(f"Known: {', '.join(sorted(OPTIONS[name, key]))}")
    assert f"unknown value of {name}.{key}" in refusal(name, **{key: 1})


@pytest.mark.parametrize("value", [0, 1, "true", "no", None])
def test_a_flag_is_true_or_false(value: Any) -> None:
    for name, key in KEYWORDS:
        if isinstance(keywords_of(name)[key], Flag):
            assert refusal(name, **{key: value}) == f"{name}.{key} must be true or false, got {value!r}"


def test_the_margin_of_simpo_is_given_once() -> None:
    assert refusal("simpo", gamma=1.0, gamma_beta_ratio=0.5) == (
        "simpo.gamma and simpo.gamma_beta_ratio conflict: set only one"
    )
    build("simpo", gamma=None, gamma_beta_ratio=0.5)
    build("simpo", gamma=0.0)


def test_gamma_is_beta_times_the_ratio() -> None:
    by_ratio = golden("simpo", beta=4.0, gamma_beta_ratio=0.5)().losses
    assert torch.equal(golden("simpo", beta=4.0, gamma=2.0)().losses, by_ratio)
    assert not torch.equal(golden("simpo", beta=4.0, gamma=0.0)().losses, by_ratio)


def test_the_left_margin_is_not_above_the_right_one() -> None:
    assert (
        refusal("stapo", left_margin=1.0)
        == "stapo.left_margin must be at most stapo.right_margin, got 1 > 0.8"
    )
    assert "got 0.6 > 0.5" in refusal("stapo", right_margin=0.5)
    build("stapo", left_margin=0.8)


def test_all_proposals_are_the_default() -> None:
    assert build("mcpo", proposals="all").sampler == build("mcpo").sampler
    assert build("mcpo", proposals=2).sampler["proposals"] == 2
    assert "an integer >= 1" in refusal("mcpo", proposals="some")


def test_a_loss_of_one_kind_of_draw_takes_no_other() -> None:
    assert "unknown keyword of rnce" in refusal("rnce", sampling="mc")
    assert "unknown value of mcpo.sampling 'worst'" in refusal("mcpo", sampling="worst")


# --- what is missing -------------------------------------------------------------------------------------

NEEDS = [
    (name, keywords, need)
    for name in TABLE
    for keywords in [{}, *({key: value} for key, value in LOSSES[name].needs_with)]
    for need in sorted(build(name, **keywords).needs - {"kl_baseline"})
]


def without(one: Case, need: str) -> Case:
    """With nothing that fills this need."""
    for kind in need.split("|"):
        if kind in ("reference", "scores"):
            one = replace(one, **{kind: None})
        elif kind in ("ranks", "labels"):
            one = replace(one, extras=replace(one.extras, **{kind: None}))
        else:
            one = replace(one, policy=replace(one.policy, **{kind: None}))
    return one


@pytest.mark.parametrize(("name", "keywords", "need"), NEEDS)
def test_what_is_missing_is_named(name: str, keywords: dict[str, Any], need: str) -> None:
    with pytest.raises(InputError) as error:
        without(case(name, **keywords), need)()
    assert str(error.value).startswith(f"{name} needs {need.replace('|', ' or ')}: ")


@pytest.mark.parametrize("name", TABLE)
def test_nothing_else_is_needed(name: str) -> None:
    """Of what the function names, what stands in no `needs` may be left out, whatever the keywords."""
    for keywords in variants(name):
        one = case(name, **keywords)
        needed = {kind for need in one.loss.needs for kind in need.split("|")}
        for kind in ("scores", "ranks", "labels"):
            if kind not in needed:
                one = without(one, kind)
        assert one().losses.isfinite().all()


def test_heads_are_needed_of_the_reference_too() -> None:
    one = case("ld_dpo")
    assert one.reference
    with pytest.raises(InputError, match="ld_dpo needs head_sum"):
        replace(one, reference=replace(one.reference, head_sum=None))()


def test_ranks_do_in_place_of_scores() -> None:
    one = without(case("pro"), "scores")
    assert one().losses.isfinite().all()
    with pytest.raises(InputError, match="pro needs scores or ranks"):
        without(one, "ranks")()


@pytest.mark.parametrize("name", TABLE)
def test_other_shapes_are_refused(name: str) -> None:
    one = case(name, sets=3)
    longer = case(name, sets=4)
    wrong = [
        replace(one, **{kind: getattr(longer, kind)})
        for kind in ("reference", "scores")
        if getattr(one, kind) is not None
    ]
    wrong += [
        replace(one, extras=replace(one.extras, **{kind: getattr(longer.extras, kind)}))
        for kind in ("ranks", "labels")
        if getattr(one.extras, kind) is not None
    ]
    for other in wrong:
        with pytest.raises(InputError, match=f"{name}: (reference|scores|ranks|labels) has shape"):
            other()


@pytest.mark.parametrize("name", [*PAIR_LOSSES, "kto"])
def test_a_pairwise_loss_takes_two_completions(name: str) -> None:
    with pytest.raises(ValueError, match="pair"):
        case(name, completions=3)()


def test_bad_log_probs() -> None:
    ones = torch.ones(1, 2)
    with pytest.raises(ValueError, match=r"Logps\.length has shape \(1, 3\), but sum has \(1, 2\)"):
        Logps(ones, torch.ones(1, 3), ones.bool())
    with pytest.raises(ValueError, match="float32 or float64"):
        Logps(ones.bfloat16(), ones.int(), ones.bool())
    with pytest.raises(ValueError, match="mask must be bool"):
        Logps(ones, ones.int(), ones)
    with pytest.raises(ValueError, match=r"\[sets, completions\]"):
        Logps(ones[0], ones[0].int(), ones[0].bool())


# --- weighted sums ---------------------------------------------------------------------------------------


def like(name: str, one: Case, **keywords: Any) -> Case:
    """The same inputs for another loss, without what it does not need."""
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


def test_a_sum_says_what_its_parts_take() -> None:
    loss = build("simpo+mcpo+sft", negatives=3)
    assert loss.completions == "set"
    assert loss.sampler == build("mcpo", negatives=3).sampler
    assert loss.needs == {"reference"}
    assert loss.beta == 2.0
    assert build("sft+dpo").beta == 0.1
    assert build("sft+dpo").sampler == {}
    assert build("sft+dpo").completions == "pair"
    assert build("dpo+kto").completions == "labelled"
    assert build("sft:2").completions == "first"
    assert build("sft:2").beta == 1.0


def test_rewards_and_metrics_of_a_sum_are_its_first_parts() -> None:
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
def test_bad_sums(name: str, keywords: dict[str, Any], message: str) -> None:
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


@pytest.mark.parametrize("other", ["bco+alpha_dpo", "bco+sft", "bco+alpha_dpo+sft+dpo", "alpha_dpo", "sft"])
def test_the_state_of_another_sum_is_refused(other: str) -> None:
    loss = build("bco+alpha_dpo+sft")
    with pytest.raises(InputError):
        loss.load_state_dict(build(other).state_dict())
    with pytest.raises(InputError):
        loss.load_state_dict(loss.state_dict() | {"bco": {}})


# --- functions from outside ------------------------------------------------------------------------------

HEADER = """
from typing import Literal
import torch
from torch.nn.functional import logsigmoid
from pairkit.losses import LossSpec, Logps
from pairkit.losses.parameters import Number
from pairkit.losses.types import LossOutput, log_ratio, output, pair_of, set_mean
"""
OWN = """
def own(policy: Logps, reference: Logps, *, beta: float = 0.1, shift: float = 0.0) -> LossOutput:
    '''DPO with a shift.

    More prose.'''
    rewards = beta * log_ratio(policy, reference)
    chosen, rejected = pair_of(rewards)
    return output(set_mean(-logsigmoid(chosen - rejected - shift)), rewards=rewards)
"""

Write = Callable[[str], str]
numbered = count()


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes a module into the working directory and gives its name."""
    monkeypatch.chdir(tmp_path)
    names = []

    def module(text: str) -> str:
        names.append(f"outside_{next(numbered)}")
        (tmp_path / f"{names[-1]}.py").write_text(HEADER + dedent(text))
        return names[-1]

    yield module
    for name in names:
        sys.modules.pop(name, None)


def test_a_function_from_the_working_directory(write: Write) -> None:
    path = list(sys.path)
    name = f"{write(OWN)}:own"
    loss = build(name)
    assert sys.path == path
    assert loss.describe() == {"name": name, "beta": 0.1, "shift": 0.0}
    assert loss.needs == {"reference"}
    assert loss.completions == "pair"
    assert isinstance(loss, Loss)
    assert loss.spec.summary == "DPO with a shift."
    one = golden("dpo")
    assert replace(one, loss=loss)().losses.tolist() == one().losses.tolist()
    shifted = replace(one, loss=build(name, shift=0.5))().losses
    assert shifted[0].item() == pytest.approx(math.log1p(math.exp(0.2)))
    with pytest.raises(InputError, match="needs reference"):
        loss(one.policy)
    assert "did you mean 'shift'" in refusal(name, shft=1.0)
    assert "must be a number" in refusal(name, beta="high")


def test_a_function_from_a_package(write: Write, tmp_path: Path) -> None:
    package = tmp_path / "outside_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "inner.py").write_text(HEADER + OWN)
    try:
        assert build("outside_package.inner:own", beta=0.5).beta == 0.5
    finally:
        for name in ("outside_package", "outside_package.inner"):
            sys.modules.pop(name, None)


def test_a_function_from_outside_in_a_sum(write: Write) -> None:
    name = f"{write(OWN)}:own"
    loss = build(f"{name}:0.5+sft", beta=0.3)
    assert [(part.name, weight) for weight, part in loss.parts] == [(name, 0.5), ("sft", 1.0)]
    assert loss.beta == 0.3
    assert loss.parts[0][1].parameters == {"beta": 0.3, "shift": 0.0}
    assert build(f"sft+{name}", **{name: {"shift": 1.0}}).parts[1][1].parameters["shift"] == 1.0
    one = golden("dpo:0.5+sft", beta=0.3)
    assert replace(one, loss=loss)().losses.tolist() == pytest.approx(one().losses.tolist())


def test_every_kind_of_keyword(write: Write) -> None:
    name = write(
        """
        def own(policy, *, flag: bool = False, count: int = 3, weight: float = -0.5, untyped=2.0,
                kind: Literal["a", "b"] = "b"):
            assert (flag, count, weight, untyped, kind) == (True, -4, 1.0, 0.0, "a")
            return output(set_mean(-policy.sum[:, 0]), rewards=policy.mean)
        """
    )
    spec = loss_spec(f"{name}:own")
    assert spec.parameters == {
        "flag": Flag(False),
        "count": Integer(3, low=None),
        "weight": Number(-0.5),
        "untyped": Number(2.0),
        "kind": Choice("b", ("a", "b")),
    }
    assert spec.summary == "from outside pairkit"
    loss = build(f"{name}:own", flag=True, count=-4, weight=1, untyped=0, kind="a")
    one = golden("dpo")
    assert loss(one.policy).losses.tolist() == [40.0, 50.0]
    assert "did you mean" in refusal(f"{name}:own", kind="aa")
    assert "must be an integer" in refusal(f"{name}:own", count=0.5)
    assert "true or false" in refusal(f"{name}:own", flag=1)


def test_everything_that_a_function_may_name(write: Write) -> None:
    name = write(
        """
        def own(policy, reference, scores, ranks):
            return output(set_mean((policy.sum - reference.sum + scores + ranks).sum(1)), rewards=policy.sum)

        def optional(policy, reference=None, scores=None, *, beta: float = 1.0):
            assert reference is None and scores is None
            return output(set_mean(policy.sum[:, 0]), rewards=policy.sum)
        """
    )
    loss, one = build(f"{name}:own"), golden("dpo")
    assert loss.needs == {"reference", "scores", "ranks"}
    ones = torch.ones(2, 2)
    extras = Extras(ranks=2 * ones.int())
    losses = loss(one.policy, one.reference, 3 * ones, extras=extras).losses
    assert losses.tolist() == [2 - 1 + 2 * (3 + 2), -2 + 3 + 2 * (3 + 2)]
    with pytest.raises(InputError, match=r"needs ranks: .* in Extras"):
        loss(one.policy, one.reference, 3 * ones)
    assert build(f"{name}:optional").needs == frozenset()
    build(f"{name}:optional")(one.policy)


def test_a_spec_from_outside(write: Write) -> None:
    name = write(
        OWN
        + """
SPEC = LossSpec(own, "summary", "paper", {"beta": Number(0.1, low=0.0, open_low=True), "shift": Number(0.0)},
                needs=frozenset({"reference"}), ordered=(("beta", "shift"),))
"""
    )
    loss = build(f"{name}:SPEC", shift=0.5)
    assert isinstance(loss, Loss)
    assert (loss.spec.summary, loss.spec.paper) == ("summary", "paper")
    assert golden("dpo")().losses.shape == replace(golden("dpo"), loss=loss)().losses.shape
    assert "beta must be in (0, inf)" in refusal(f"{name}:SPEC", beta=0.0)
    assert "beta must be at most" in refusal(f"{name}:SPEC")


def test_a_spec_of_labelled_completions_from_outside(write: Write) -> None:
    """Labels, and a reference point of completions of other prompts: what a bare function is not given."""
    name = write(
        """
        from pairkit.losses import Statistics
        from pairkit.losses.anchored import observe_kl

        def own(policy, reference, labels, kl_baseline):
            values = torch.where(labels, policy.sum[:, 0], kl_baseline)
            return output(set_mean(values), rewards=policy.sum)

        SPEC = LossSpec(own, "s", "p", completions="labelled", needs=frozenset({"reference", "kl_baseline"}),
                        statistics=Statistics(observe_kl, {"kl_baseline": 0.25}, of="mismatched"))
        """
    )
    one, labels = golden("dpo"), torch.tensor([True, False])
    loss = build(f"{name}:SPEC")
    assert loss(one.policy, one.reference, extras=Extras(labels=labels)).losses.tolist() == [-40.0, 0.25]
    with pytest.raises(InputError, match=r"labels has shape \(1,\)"):
        loss(one.policy, one.reference, extras=Extras(labels=labels[:1]))


def test_a_spec_with_statistics_from_outside(write: Write) -> None:
    name = write(
        """
        from pairkit.losses import Statistics

        def observe(state, policy, reference, seeds, *, beta):
            assert len(seeds) == len(policy.sum)
            return {"seen": state["seen"] + len(policy.sum)}, {"twice": 2 * beta * policy.sum[:, 0]}

        def own(policy, statistics, *, beta):
            values = policy.sum[:, 0] * statistics["seen"] + statistics["twice"]
            return output(set_mean(values), rewards=policy.sum)

        SPEC = LossSpec(own, "s", "p", {"beta": Number(0.5)}, statistics=Statistics(observe, {"seen": 0.0}))
        """
    )
    loss, one = build(f"{name}:SPEC"), golden("dpo")
    assert loss(one.policy).losses.tolist() == [-120.0, -150.0]
    assert loss.state_dict() == {"seen": torch.tensor(2.0, dtype=torch.float64)}
    assert loss(one.policy).losses.tolist() == [-200.0, -250.0]


BAD_FUNCTIONS = [
    ("def own(policy, *, beta: float): ...", "keyword beta: set a default"),
    ("def own(policy, *, beta): ...", "keyword beta: set a default"),
    ("def own(policy, *, beta: str = 'x'): ...", "keyword beta: set a default"),
    ("def own(policy, *, beta: float | None = None): ...", "keyword beta: set a default"),
    ("def own(policy, *, kind: Literal[1, 2] = 1): ...", "keyword kind: a Literal must list strings"),
    ("def own(policy, *, kind: Literal['a', 'b'] = 'c'): ...", "keyword kind: a Literal must list strings"),
    (
        "def own(policy, beta: float = 0.1): ...",
        "unknown input beta, expected reference, scores, ranks; put keywords after a *",
    ),
    ("def own(policy, refrence, *, beta: float = 0.1): ...", "unknown input refrence, expected reference"),
    (
        "def own(policy, statistics): ...",
        "statistics is not available to a bare function, only reference, scores",
    ),
    (
        "def own(policy, labels): ...",
        "labels is not available to a bare function, only reference, scores, ranks",
    ),
    ("def own(policy, *, kl_baseline=None): ...", "kl_baseline is not available to a bare function, only"),
    ("def own(policy, **more): ...", "unknown input more"),
    (
        "def own(reference, *, beta: float = 0.1): ...",
        "the first argument of a loss must be the policy's Logps",
    ),
    ("def own(*, beta: float = 0.1): ...", "the first argument of a loss must be the policy's Logps"),
    ("def own(): ...", "the first argument of a loss must be the policy's Logps"),
    ("def own(policy: 'Nowhere'): ...", "cannot read its annotations: name 'Nowhere' is not defined"),
    ("own = 3", "must be a function or a LossSpec, got int"),
    ("class own: ...", "must be a function or a LossSpec, got type"),
    ("other = 3", ": AttributeError: "),
    ("raise RuntimeError('no luck')", ": RuntimeError: no luck"),
    ("import no_such_module", ": ModuleNotFoundError: No module named 'no_such_module'"),
    ("def own(:", ": SyntaxError: "),
]


@pytest.mark.parametrize(("text", "message"), BAD_FUNCTIONS, ids=[text for text, _ in BAD_FUNCTIONS])
def test_bad_functions_from_outside(write: Write, text: str, message: str) -> None:
    path = list(sys.path)
    name = f"{write(text)}:own"
    assert message in refusal(name)
    assert name in refusal(name)
    assert message in refusal(f"sft+{name}:0.5")
    assert sys.path == path


@pytest.mark.parametrize("name", ["no_such_module:own", "no.such.module:own", "pairkit.losses:no_such_loss"])
def test_what_is_not_there_cannot_be_imported(name: str) -> None:
    assert f"cannot import loss '{name}': " in refusal(name)


def test_a_function_of_pairkit_itself_is_no_loss_from_outside() -> None:
    """Its keywords have no defaults: they stand in the table."""
    assert "keyword beta: set a default" in refusal("pairkit.losses.logistic:dpo")
