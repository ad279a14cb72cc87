"""The one table of losses: the command line, error texts, help and tests all derive from it.

Adding a loss is a function in the module of its family, a row here, and a golden row in the tests.
"""

from __future__ import annotations

from pairkit.losses.adaptive import (
    alpha_dpo,
    amapo,
    beta_dpo,
    observe_alpha_dpo,
    observe_amapo,
    observe_beta_dpo,
)
from pairkit.losses.likelihood import sft
from pairkit.losses.listwise import pro, rnce, rrhf
from pairkit.losses.pairwise import dpo
from pairkit.losses.parameters import Choice, Flag, Number, not_negative, positive, smoothing
from pairkit.losses.reference_free import alphapo, cpo, cpo_simpo, orpo, simper, simpo, slic_hf
from pairkit.losses.sampling import SETTINGS
from pairkit.losses.scored import exo_rw, infonca, lipo, nca
from pairkit.losses.spec import LossSpec, Statistics
from pairkit.losses.statistics import START
from pairkit.losses.transport import aot, aot_unpaired, observe_aot, observe_aot_unpaired

REFERENCE = frozenset({"reference"})
SCORED = frozenset({"reference", "scores"})
MOMENTUM = Number(0.9, low=0.0, high=1.0, open_high=True)

LOSSES: dict[str, LossSpec] = {
    "sft": LossSpec(
        sft,
        "supervised fine-tuning on the preferred completion (token-mean NLL)",
        "maximum likelihood",
        completions="first",
    ),
    "dpo": LossSpec(
        dpo,
        "direct preference optimization; label_smoothing > 0 is cDPO",
        "arXiv 2305.18290, eq. 7",
        {"beta": positive(0.1), "label_smoothing": smoothing(0.0)},
        needs=REFERENCE,
    ),
    "simpo": LossSpec(
        simpo,
        "mean log-probs with a target margin, no reference model",
        "arXiv 2405.14734, eq. 6",
        {
            "beta": positive(2.0),
            "gamma_beta_ratio": Number(0.25),
            "gamma": Number(None),
            "label_smoothing": smoothing(0.0),
        },
        exclusive=(("gamma", "gamma_beta_ratio"),),
    ),
    "cpo": LossSpec(
        cpo,
        "DPO with a uniform reference, and the chosen completion's NLL",
        "arXiv 2401.08417",
        {
            "beta": positive(0.1),
            "nll_weight": not_negative(1.0),
            "nll_reduction": Choice("token_mean", ("token_mean", "sum")),
        },
    ),
    "cpo_simpo": LossSpec(
        cpo_simpo,
        "SimPO with the chosen completion's NLL",
        "code of fe1ixxu/CPO_SIMPO",
        {"beta": positive(10.0), "gamma": Number(5.4), "nll_weight": not_negative(0.05)},
    ),
    "slic_hf": LossSpec(
        slic_hf,
        "a hinge on the difference of log-probs, and the chosen completion's NLL",
        "arXiv 2305.10425",
        {"delta": not_negative(1.0), "nll_weight": not_negative(0.1)},
    ),
    "orpo": LossSpec(
        orpo,
        "the chosen completion's NLL and the log odds ratio of the pair",
        "arXiv 2403.07691, eq. 6 and 7",
        {"odds_weight": not_negative(0.1)},
    ),
    "simper": LossSpec(
        simper,
        "inverse perplexities, without hyper-parameters",
        "arXiv 2502.00883",
    ),
    "alphapo": LossSpec(
        alphapo,
        "SimPO with the reward bent into a power",
        "arXiv 2501.03884",
        {"alpha": Number(0.25), "beta": positive(2.5), "gamma": Number(0.1)},
    ),
    "alpha_dpo": LossSpec(
        alpha_dpo,
        "alpha-DPO: SimPO with a margin for each pair, by how far policy and reference part on it",
        "arXiv 2410.10148, eq. 12",
        {
            "beta": positive(10.0),
            "gamma_beta_ratio": Number(0.4),
            "alpha": not_negative(0.05),
            "implicit_reference": Choice("ratio", ("ratio", "policy", "reference", "inverse_reference")),
            "normalize": Flag(True),
            "stop_gradient": Flag(True),
            "length_normalized": Flag(True),
            "margin": Choice("sequence", ("sequence", "token_kl")),
            "alpha_scale": Choice("code", ("code", "paper")),
            "momentum": MOMENTUM,
            "stats": Choice("corrected", ("corrected", "official")),
        },
        needs=REFERENCE,
        needs_with={("margin", "token_kl"): frozenset({"token_kl"})},
        statistics=Statistics(observe_alpha_dpo, START),
    ),
    "beta_dpo": LossSpec(
        beta_dpo,
        "beta-DPO: a beta for each batch, on the pairs that do not stand out of it",
        "arXiv 2407.08639",
        {
            "beta": positive(0.1),
            "a": not_negative(0.6),
            "filter_fraction": Number(0.2, low=0.0, high=1.0, open_high=True),
            "momentum": MOMENTUM,
        },
        needs=REFERENCE,
        statistics=Statistics(observe_beta_dpo, {**START, "beta": 0.0}),
    ),
    "amapo": LossSpec(
        amapo,
        "SimPO with a margin for the pairs below the batch's mean",
        "arXiv 2511.09385",
        {"beta": positive(2.5)},
        statistics=Statistics(observe_amapo),
    ),
    "aot": LossSpec(
        aot,
        "sorted differences of the policy against those of the reference",
        "arXiv 2406.05882",
        {"beta": positive(0.01), "label_smoothing": smoothing(0.0)},
        needs=REFERENCE,
        statistics=Statistics(observe_aot),
    ),
    "aot_unpaired": LossSpec(
        aot_unpaired,
        "sorted log-ratios of the chosen completions against those of the rejected ones",
        "arXiv 2406.05882",
        {"beta": positive(0.01), "label_smoothing": smoothing(0.0)},
        needs=REFERENCE,
        statistics=Statistics(observe_aot_unpaired),
    ),
    "rnce": LossSpec(
        rnce,
        "the preferred completion against randomly drawn negatives",
        "arXiv 2502.04567, eq. 7",
        {"beta": positive(0.01)},
        {"negatives": SETTINGS["negatives"]},
        completions="set",
        needs=REFERENCE,
    ),
    "mcpo": LossSpec(
        rnce,
        "MC-PO: negatives drawn in proportion to the policy's own weight on them",
        "arXiv 2502.04567, algorithm 1 and eq. 7",
        {"beta": positive(0.01)},
        {**SETTINGS, "sampling": Choice("mc", ("mc", "max", "min", "random"))},
        completions="set",
        needs=REFERENCE,
    ),
    "infonca": LossSpec(
        infonca,
        "softmax over the set against that of the scores (DPO-RW)",
        "arXiv 2402.05369",
        {"beta": positive(0.01), "temperature": positive(1e-4)},
        completions="set",
        needs=SCORED,
    ),
    "nca": LossSpec(
        nca,
        "pulls completions up by their scores (without: the preferred one), pushes all down alike",
        "arXiv 2402.05369",
        {"beta": positive(0.01), "temperature": positive(1e-4)},
        completions="set",
        needs=REFERENCE,
    ),
    "exo_rw": LossSpec(
        exo_rw,
        "reverse KL of the softmax over the set from that of the scores",
        "arXiv 2402.00856",
        {"beta": positive(0.1), "reward_temperature": positive(1.0)},
        completions="set",
        needs=SCORED,
    ),
    "lipo": LossSpec(
        lipo,
        "LiPO-lambda: every pair, weighed by scores and places",
        "arXiv 2402.01878",
        {"beta": positive(0.05)},
        completions="set",
        needs=SCORED,
    ),
    "pro": LossSpec(
        pro,
        "each completion against all below it, and the NLL of the best; no reference",
        "arXiv 2306.17492",
        {"nll_weight": not_negative(0.05)},
        completions="set",
        needs=frozenset({"scores|ranks"}),
    ),
    "rrhf": LossSpec(
        rrhf,
        "a hinge on every pair in the wrong order, and the NLL of the preferred one; no reference",
        "arXiv 2304.05302",
        {"nll_weight": not_negative(1.0)},
        completions="set",
    ),
}
