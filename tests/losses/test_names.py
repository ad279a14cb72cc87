"""The public names of losses, keywords and options, and the suggestions for misspelled ones."""

from __future__ import annotations

from typing import Any

from support.loss_cases import TABLE
from support.refusals import keywords_of, misspell, refusal, suggests

from pairkit.losses import LOSSES, Loss, build
from pairkit.losses.parameters import Choice

# Names, keywords and defaults that users and recipes rely on, because a change breaks their runs. A new loss
# need not be added.
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
    "simpo": {
        "beta": 2.0,
        "gamma_beta_ratio": 0.25,
        "gamma": None,
        "label_smoothing": 0,
        "length_normalized": True,
    },
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
        "margin_reduction": "same",
        "alpha_scale": "code",
        "momentum": 0.9,
        "stats": "corrected",
        "stats_every": None,
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
    "contrastive_divergence": {
        "beta": 0.01,
        "negatives": 1,
        "sampling": "mc",
        "weights": "reward",
        "include_chosen": True,
        "replacement": True,
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
    ("alpha_dpo", "margin_reduction"): {"same", "mean", "sum"},
    ("alpha_dpo", "stats"): {"corrected", "official", "dataset"},
    ("f_dpo", "divergence"): {"reverse_kl", "forward_kl", "js", "alpha"},
    ("mcpo", "sampling"): {"mc", "max", "min", "random"},
    ("mcpo", "weights"): {"reward", "logprob"},
    ("contrastive_divergence", "sampling"): {"mc", "max", "min", "random"},
    ("contrastive_divergence", "weights"): {"reward", "logprob"},
}


def test_names_keywords_and_defaults_are_the_public_ones() -> None:
    for name, keywords in PUBLIC.items():
        assert {key: parameter.default for key, parameter in keywords_of(name).items()} == keywords, name
    for (name, key), options in OPTIONS.items():
        parameter = keywords_of(name)[key]
        assert isinstance(parameter, Choice)
        assert set(parameter.options) == options


def test_every_public_keyword_can_be_set_to_its_default() -> None:
    for name, keywords in PUBLIC.items():
        loss = build(name, **{key: value for key, value in keywords.items() if value is not None})
        assert loss.describe() == build(name).describe()
        assert isinstance(loss, Loss)
        assert loss.parameters | loss.sampler == keywords


def test_the_error_for_an_unknown_name_suggests_the_nearest() -> None:
    for name in TABLE:
        shorter = (name[:i] + name[i + 1 :] for i in range(len(name)))
        wrong = next(word for word in shorter if word not in LOSSES)
        message = refusal(wrong)
        assert f"unknown loss '{wrong}'" in message
        assert suggests(message, wrong, name), message
        assert message.endswith(f"Known: {', '.join(sorted(LOSSES))}")


def test_the_error_for_an_unknown_keyword_suggests_the_nearest() -> None:
    for name in TABLE:
        for key in keywords_of(name):
            wrong = misspell(key)
            message = refusal(name, **{wrong: 1})
            assert f"unknown keyword of {name} '{wrong}'" in message
            assert suggests(message, wrong, key), message
            assert message.endswith(f"Known: {', '.join(sorted(keywords_of(name)))}")


def test_the_error_for_a_loss_without_keywords() -> None:
    assert refusal("simper", beta=1.0) == "unknown keyword of simper 'beta'; known: none"


def test_the_error_for_a_wrong_option_suggests_the_nearest() -> None:
    for (name, key), options in OPTIONS.items():
        for option in options:
            build(name, **{key: option})
            message = refusal(name, **{key: misspell(option)})
            assert f"unknown value of {name}.{key}" in message
            assert suggests(message, misspell(option), option), message
            assert message.endswith(f"Known: {', '.join(sorted(options))}")
        assert f"unknown value of {name}.{key}" in refusal(name, **{key: 1})
