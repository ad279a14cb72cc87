"""The one table of losses: the command line, error texts, help and tests all derive from it.

Adding a loss is a function in the module of its family, a row here, and a golden row in the tests.
"""

from __future__ import annotations

from pairkit.losses.likelihood import sft
from pairkit.losses.listwise import rnce
from pairkit.losses.pairwise import dpo
from pairkit.losses.parameters import Choice, Number, not_negative, positive, smoothing
from pairkit.losses.reference_free import alphapo, cpo, cpo_simpo, orpo, simper, simpo, slic_hf
from pairkit.losses.sampling import SETTINGS
from pairkit.losses.spec import LossSpec

REFERENCE = frozenset({"reference"})

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
}
