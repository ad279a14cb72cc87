"""The table of losses, from which the command line, error messages, help and tests are derived.

To add a loss, write a function in the module of its family, a row here, and a golden row in the tests.
"""

from __future__ import annotations

from pairkit.losses.adaptive import (
    alpha_dpo,
    amapo,
    beta_dpo,
    figures_alpha_dpo,
    observe_alpha_dpo,
    observe_amapo,
    observe_beta_dpo,
)
from pairkit.losses.anchored import (
    REWARDS_SO_FAR,
    apo_down,
    apo_zero,
    bco,
    kto,
    observe_kl,
    observe_rewards,
)
from pairkit.losses.bounded import exo, ipo, spo, sppo, stapo
from pairkit.losses.likelihood import sft
from pairkit.losses.listwise import contrastive_divergence, pro, rnce, rrhf
from pairkit.losses.logistic import discopop, dpo, hinge, robust_dpo, ropo
from pairkit.losses.margins import dpo_norm, dpop, f_dpo, minor_dpo, r_dpo
from pairkit.losses.parameters import Choice, Flag, Integer, Number, not_negative, positive, smoothing
from pairkit.losses.reference_free import alphapo, cpo, cpo_simpo, orpo, simper, simpo, slic_hf
from pairkit.losses.rewards import pairrm, reward_bt, reward_mse, reward_pl
from pairkit.losses.sampling import SETTINGS
from pairkit.losses.scored import exo_rw, infonca, lipo, nca
from pairkit.losses.spec import LossSpec, Statistics
from pairkit.losses.statistics import START
from pairkit.losses.sums import mpo, rpo
from pairkit.losses.tokenwise import ld_dpo, tdpo1, tdpo2, wpo
from pairkit.losses.transport import aot, aot_unpaired, observe_aot, observe_aot_unpaired

REFERENCE = frozenset({"reference"})
SCORED = frozenset({"reference", "scores"})
MOMENTUM = Number(0.9, low=0.0, high=1.0, open_high=True)  # open, because at 1 no batch would ever count

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
    "robust_dpo": LossSpec(
        robust_dpo,
        "unbiased DPO for data in which a known share of pairs is swapped",
        "arXiv 2403.00409",
        {"beta": positive(0.1), "label_smoothing": smoothing(0.1)},
        needs=REFERENCE,
    ),
    "hinge": LossSpec(
        hinge,
        "RSO's hinge loss: no gradient for pairs beyond the margin",
        "arXiv 2309.06657",
        {"beta": positive(0.05)},  # gamma of the paper
        needs=REFERENCE,
    ),
    "ropo": LossSpec(
        ropo,
        "DPO plus a bounded loss that tolerates wrong labels",
        "arXiv 2404.04102 v2, eq. 9",
        {"beta": positive(0.1), "alpha": positive(14.0)},  # alpha of two independent implementations
        needs=REFERENCE,
    ),
    "discopop": LossSpec(
        discopop,
        "a blend of logistic and exponential loss, discovered by a language model",
        "arXiv 2406.08414, eq. 5",
        {"beta": positive(0.05), "temperature": positive(0.05)},
        needs=REFERENCE,
    ),
    "r_dpo": LossSpec(
        r_dpo,
        "DPO with a smaller margin for pairs whose chosen completion is longer",
        "arXiv 2403.19159; restated as eq. 6 and table 1 of StaPO's paper",
        {"beta": positive(0.1), "length_weight": not_negative(0.05), "length_inside_beta": Flag(False)},
        needs=REFERENCE,
    ),
    "dpop": LossSpec(
        dpop,
        "DPO-positive (Smaug): a penalty if the chosen completion falls below the reference",
        "arXiv 2402.13228; restated as eq. 5 of MinorDPO's paper",
        {"beta": positive(0.1), "penalty_weight": not_negative(50.0)},  # the papers' weight
        needs=REFERENCE,
    ),
    "minor_dpo": LossSpec(
        minor_dpo,
        "DPO that pushes the rejected completion down to the reference and no further",
        "Minor DPO reject penalty to increase training robustness, eq. 6",
        {"beta": positive(0.1)},
        needs=REFERENCE,
    ),
    "dpo_norm": LossSpec(
        dpo_norm,
        "length-normalized DPO (Tulu 3)",
        "arXiv 2411.15124",
        {"beta": positive(5.0)},
        needs=REFERENCE,
    ),
    "f_dpo": LossSpec(
        f_dpo,
        "DPO with a divergence other than the reverse KL",
        "arXiv 2309.16240",
        {
            "beta": positive(0.1),
            "divergence": Choice("reverse_kl", ("reverse_kl", "forward_kl", "js", "alpha")),
            "alpha": Number(0.5, low=0.0, high=1.0, open_high=True),
        },
        needs=REFERENCE,
    ),
    "tdpo1": LossSpec(
        tdpo1,
        "token-level DPO: the margin minus the difference in sequential KL",
        "arXiv 2404.11999; restated as eq. 17 and 18 of arXiv 2410.10148",
        {"beta": positive(0.1)},
        needs=frozenset({"reference", "token_kl"}),
    ),
    "tdpo2": LossSpec(
        tdpo2,
        "token-level DPO: the rejected completion's sequential KL, relative to the chosen one's",
        "arXiv 2404.11999",
        {"beta": positive(0.1), "alpha": not_negative(0.5)},  # alpha of the official code
        needs=frozenset({"reference", "token_kl"}),
    ),
    "wpo": LossSpec(
        wpo,
        "DPO with pairs weighted by their likelihood under the policy",
        "arXiv 2406.11827",
        {"beta": positive(0.01)},  # as in the published runs
        needs=frozenset({"reference", "alignment"}),
    ),
    "ld_dpo": LossSpec(
        ld_dpo,
        "DPO with less weight on the extra tokens of the longer completion",
        "arXiv 2409.06411",
        {"beta": positive(0.1), "alpha": Number(0.5, low=0.0, high=1.0)},
        needs=frozenset({"reference", "head_sum"}),
    ),
    "ipo": LossSpec(
        ipo,
        "squared distance to a finite margin",
        "arXiv 2310.12036, eq. 17",
        {"beta": positive(0.1), "reduction": Choice("mean", ("mean", "sum"))},
        needs=REFERENCE,
    ),
    "sppo": LossSpec(
        sppo,
        "a target log-ratio each for chosen and rejected (hard SPPO)",
        "arXiv 2405.00675, eq. 4.7",
        {"beta": positive(0.001)},  # 1 / eta of the paper
        needs=REFERENCE,
    ),
    "exo": LossSpec(
        exo,
        "reverse KL from the policy to smoothed labels (EXO-pref)",
        "arXiv 2402.00856, eq. 16",
        {"beta": positive(0.1), "label_smoothing": smoothing(1e-3, above_zero=True)},
        needs=REFERENCE,
    ),
    "spo": LossSpec(
        spo,
        "a finite margin for the pair, a finite drop for the rejected completion",
        "Stable Preference Optimization: Learning Preference Is More Important than Imitation, eq. 6",
        {
            "beta": positive(0.1),
            "alpha": not_negative(0.1),
            "z_clip": Number(None, high=0.0),
        },
        needs=REFERENCE,
    ),
    "stapo": LossSpec(
        stapo,
        "StaPO: keeps the logit of a pair between two margins",
        "Stable Preference Optimization via Two-Sided Contrastive Learning, eq. 7",
        {
            "beta": positive(2.0),
            "left_margin": Number(0.6),  # both margins of the paper
            "right_margin": Number(0.8),
            "logit": Choice("simpo", ("simpo", "dpo")),
        },
        needs_with={("logit", "dpo"): REFERENCE},
        ordered=(("left_margin", "right_margin"),),
    ),
    "kto": LossSpec(
        kto,
        "each completion is desirable or not, relative to a KL reference point",
        "arXiv 2402.01306, eq. 7",
        {
            "beta": positive(0.1),
            "desirable_weight": not_negative(1.0),
            "undesirable_weight": not_negative(1.0),
        },
        completions="labeled",
        needs=frozenset({"reference", "kl_baseline"}),
        statistics=Statistics(observe_kl, {"kl_baseline": 0.0}, of="mismatched"),
    ),
    "bco": LossSpec(
        bco,
        "a classifier of chosen and rejected completions, its reward shifted by the running mean",
        "arXiv 2404.04656",
        {"beta": positive(0.1)},
        needs=REFERENCE,
        statistics=Statistics(observe_rewards, REWARDS_SO_FAR),
    ),
    "apo_zero": LossSpec(
        apo_zero,
        "chosen up, rejected down: for chosen completions better than the model's",
        "arXiv 2408.06266, eq. 7",
        {"beta": positive(0.1)},
        needs=REFERENCE,
    ),
    "apo_down": LossSpec(
        apo_down,
        "both down, rejected further: for chosen completions worse than the model's",
        "arXiv 2408.06266, eq. 8",
        {"beta": positive(0.1)},
        needs=REFERENCE,
    ),
    "rpo": LossSpec(
        rpo,
        "DPO plus the chosen completion's NLL",
        "arXiv 2404.19733; arXiv 2405.16436",
        {
            "beta": positive(0.1),
            "nll_weight": not_negative(0.1),
            "nll_reduction": Choice("token_mean", ("token_mean", "sum")),
        },
        needs=REFERENCE,
    ),
    "mpo": LossSpec(
        mpo,
        "DPO, BCO and SFT together",
        "arXiv 2411.10442",
        {
            "dpo_weight": not_negative(0.8),
            "bco_weight": not_negative(0.2),  # the three weights of the paper
            "sft_weight": not_negative(1.0),
            "beta": positive(0.1),
        },
        needs=REFERENCE,
        statistics=Statistics(observe_rewards, REWARDS_SO_FAR),
    ),
    "simpo": LossSpec(
        simpo,
        "mean log-probs with a target margin, no reference model",
        "arXiv 2405.14734, eq. 6",
        {
            "beta": positive(2.0),
            "gamma_beta_ratio": Number(0.25),  # with beta, the defaults of the official code
            "gamma": Number(None),
            "label_smoothing": smoothing(0.0),
            "length_normalized": Flag(True),
        },
        exclusive=(("gamma", "gamma_beta_ratio"),),
    ),
    "cpo": LossSpec(
        cpo,
        "DPO with a uniform reference, plus the chosen completion's NLL",
        "arXiv 2401.08417; restated as eq. 6 and table 1 of StaPO's paper",
        {
            "beta": positive(0.1),
            "nll_weight": not_negative(1.0),
            "nll_reduction": Choice("token_mean", ("token_mean", "sum")),
        },
    ),
    "cpo_simpo": LossSpec(
        cpo_simpo,
        "SimPO plus the chosen completion's NLL",
        "code of fe1ixxu/CPO_SIMPO",
        {"beta": positive(10.0), "gamma": Number(5.4), "nll_weight": not_negative(0.05)},
    ),
    "slic_hf": LossSpec(
        slic_hf,
        "a hinge on the difference of log-probs, plus the chosen completion's NLL",
        "arXiv 2305.10425",
        {"delta": not_negative(1.0), "nll_weight": not_negative(0.1)},
    ),
    "orpo": LossSpec(
        orpo,
        "the chosen completion's NLL plus the log odds ratio of the pair",
        "arXiv 2403.07691, eq. 6 and 7",
        {"odds_weight": not_negative(0.1)},  # of the paper's Mistral run
    ),
    "simper": LossSpec(
        simper,
        "inverse perplexities, without hyper-parameters",
        "arXiv 2502.00883",
    ),
    "alphapo": LossSpec(
        alphapo,
        "SimPO with a power function in place of the log reward",
        "arXiv 2501.03884",
        {"alpha": Number(0.25), "beta": positive(2.5), "gamma": Number(0.1)},  # of the Mistral-Instruct run
    ),
    "alpha_dpo": LossSpec(
        alpha_dpo,
        "alpha-DPO: SimPO with a margin per pair, by how far policy and reference differ on it",
        "arXiv 2410.10148, eq. 12",
        {
            "beta": positive(10.0),
            "gamma_beta_ratio": Number(0.4),  # with beta and alpha, those of the Gemma 2 run
            "alpha": not_negative(0.05),
            "implicit_reference": Choice("ratio", ("ratio", "policy", "reference", "inverse_reference")),
            "normalize": Flag(True),
            "stop_gradient": Flag(True),
            "length_normalized": Flag(True),
            "margin": Choice("sequence", ("sequence", "token_kl")),
            "margin_reduction": Choice("same", ("same", "mean", "sum")),
            "alpha_scale": Choice("code", ("code", "paper")),
            "momentum": MOMENTUM,
            "stats": Choice("corrected", ("corrected", "official", "dataset")),
            "stats_every": Integer(None, word="epoch"),
        },
        needs=REFERENCE,
        needs_with={("margin", "token_kl"): frozenset({"token_kl"})},
        unread={
            ("normalize", False): ("momentum", "stats", "stats_every"),
            ("stats", "corrected"): ("stats_every",),
            ("stats", "official"): ("stats_every",),
            ("stats", "dataset"): ("momentum",),
        },
        statistics=Statistics(observe_alpha_dpo, START, figures=figures_alpha_dpo),
    ),
    "beta_dpo": LossSpec(
        beta_dpo,
        "beta-DPO: a beta per batch, with outlier pairs filtered out",
        "arXiv 2407.08639",
        {
            "beta": positive(0.1),
            "a": not_negative(0.6),
            "filter_fraction": Number(0.2, low=0.0, high=1.0, open_high=True),
            "momentum": MOMENTUM,
        },
        needs=REFERENCE,
        statistics=Statistics(observe_beta_dpo, {**START, "beta": 0.0}),  # beta 0: none adapted so far
    ),
    "amapo": LossSpec(
        amapo,
        "SimPO with a margin for pairs below the mean of the batch",
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
        "sorted log-ratios of chosen completions against those of rejected ones",
        "arXiv 2406.05882",
        {"beta": positive(0.01), "label_smoothing": smoothing(0.0)},
        needs=REFERENCE,
        statistics=Statistics(observe_aot_unpaired),
    ),
    "rnce": LossSpec(
        rnce,
        "the preferred completion against random negatives",
        "arXiv 2502.04567, eq. 7",
        {"beta": positive(0.01)},
        {"negatives": SETTINGS["negatives"]},
        completions="set",
        needs=REFERENCE,
    ),
    "mcpo": LossSpec(
        rnce,
        "MC-PO: negatives sampled in proportion to the policy's weight on them",
        "arXiv 2502.04567, algorithm 1 and eq. 7",
        {"beta": positive(0.01)},
        {**SETTINGS, "sampling": Choice("mc", ("mc", "max", "min", "random"))},
        completions="set",
        needs=REFERENCE,
    ),
    "contrastive_divergence": LossSpec(
        contrastive_divergence,
        "MC-PO without a second weight: sampled in proportion to it, negatives are equally heavy",
        "arXiv 2502.04567, eq. 8",
        {"beta": positive(0.01)},
        {
            **SETTINGS,
            "sampling": Choice("mc", ("mc", "max", "min", "random")),
            "include_chosen": Flag(True),
            "replacement": Flag(True),
        },
        completions="set",
        needs=REFERENCE,
    ),
    "infonca": LossSpec(
        infonca,
        "cross-entropy with the softmax of the scores over the set (DPO-RW)",
        "arXiv 2402.05369",
        {"beta": positive(0.01), "temperature": positive(1e-4)},  # official code: nearly one-hot
        completions="set",
        needs=SCORED,
    ),
    "nca": LossSpec(
        nca,
        "pulls completions up by their scores (or only the preferred one), pushes all down equally",
        "arXiv 2402.05369",
        {"beta": positive(0.01), "temperature": positive(1e-4)},
        completions="set",
        needs=REFERENCE,
    ),
    "exo_rw": LossSpec(
        exo_rw,
        "reverse KL to the softmax of the scores over the set",
        "arXiv 2402.00856",
        {"beta": positive(0.1), "reward_temperature": positive(1.0)},
        completions="set",
        needs=SCORED,
    ),
    "lipo": LossSpec(
        lipo,
        "LiPO-lambda: every pair, weighted by scores and places",
        "arXiv 2402.01878",
        {"beta": positive(0.05)},
        completions="set",
        needs=SCORED,
    ),
    "pro": LossSpec(
        pro,
        "each completion against all below it, plus the NLL of the best; no reference",
        "arXiv 2306.17492",
        {"nll_weight": not_negative(0.05)},  # of the official code
        completions="set",
        needs=frozenset({"scores|ranks"}),
    ),
    "rrhf": LossSpec(
        rrhf,
        "a hinge on every pair in the wrong order, plus the NLL of the preferred one; no reference",
        "arXiv 2304.05302",
        {"nll_weight": not_negative(1.0)},
        completions="set",
    ),
    "reward_bt": LossSpec(
        reward_bt,
        "a reward model by the Bradley-Terry loss of all pairs of a set",
        "arXiv 2203.02155, eq. 1",
        {
            "margin": not_negative(0.0),
            "label_smoothing": smoothing(0.0),
            "centering": not_negative(0.0),
        },
        completions="set",
        needs=frozenset({"ranks"}),
        trains="reward",
    ),
    "reward_pl": LossSpec(
        reward_pl,
        "a reward model by the Plackett-Luce likelihood of the ranking",
        "arXiv 2305.18290, eq. 18",
        completions="set",
        needs=frozenset({"ranks"}),
        trains="reward",
    ),
    "reward_mse": LossSpec(
        reward_mse,
        "a reward model by regression on the scores",
        "arXiv 2406.08673",
        completions="set",
        needs=frozenset({"scores"}),
        trains="reward",
    ),
    "pairrm": LossSpec(
        pairrm,
        "PairRM: of two completions shown together, in both orders, the better one is preferred",
        "arXiv 2306.02561; code of llm-blender",
        trains="pairrm",
    ),
}
