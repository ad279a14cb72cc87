"""MinorDPO's claims: the chosen completion gains, and a higher rate is borne."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from pairkit.replication.design import RATE, Arm, Replication, Statistic
from pairkit.replication.quantities import accuracy, chosen_ratio, median_margin
from pairkit.replication.statistics import bears_more, difference, level, slope
from pairkit.replication.tasks.table import TASKS

PAPER = "MinorDPO"
_DPO = {"name": "dpo", "beta": 0.1}
_MINOR = {"name": "minor_dpo", "beta": 0.1}
_DPOP = {"name": "dpop", "beta": 0.1, "penalty_weight": 50.0}
_TIMES = (1, 3, 10)
_RATES = {name: {f"{name}, rate x {n}": n * RATE for n in _TIMES} for name in ("dpo", "minor_dpo", "dpop")}
_BEARS = partial(bears_more, second=_RATES["dpo"], malformed_below=0.05)


_TINY = "The rate is that of a model of half a million weights, at which DPO moves far in two epochs."
_SMALL = "The model has 135 million weights, and 60 steps of 8 sets teach it to write without commas."


def _signs(name: str, task: str, size: str = _TINY, **common: Any) -> Replication:
    """Return the claim about signs on a task; all of its arms have `common`."""
    return Replication(
        id=name,
        paper=f"{PAPER}, Fig. 2 to 5",
        claim="Under DPO chosen and rejected completions both become less probable; under MinorDPO the "
        "chosen ones become more probable.",
        published="beta-free rewards over steps, as curves: DPO's below 0 for both, MinorDPO's above 0 for "
        "the chosen completion",
        task=TASKS[task],
        arms={str(loss["name"]): Arm(loss, **common) for loss in (_DPO, _MINOR, _DPOP)},
        statistics=(
            Statistic(
                "MinorDPO: mean log-ratio of chosen completions",
                partial(level, arm="minor_dpo", of=chosen_ratio), 0.05, "nats",
            ),
            Statistic(
                "DPO: the same, with its sign turned",
                partial(level, arm="dpo", of=chosen_ratio, sign=-1.0), 0.05, "nats",
            ),
            Statistic(
                "accuracy, MinorDPO - DPO",
                partial(difference, first="minor_dpo", second="dpo", of=accuracy), 0.02, decides=False,
            ),
        ),
        falsified="DPO's mean log-ratio of chosen completions above 0, or MinorDPO's below 0",
        shows=("chosen_ratio", "rejected_ratio", "accuracy", "malformed"),
        differs="A completion has three to forty tokens here and hundreds there, and a mean of sums grows "
        f"with the length. {size}",
    )  # fmt: skip


_BETAS = {f"dpo, beta {beta:g}": beta for beta in (0.02, 0.1, 0.5)}
_LOG_BETAS = {arm: math.log(beta) for arm, beta in _BETAS.items()}


def _of_beta(name: str, paper: str, **words: Any) -> Replication:
    """Return a claim about DPO's beta on close pairs."""
    arms = {arm: Arm({"name": "dpo", "beta": beta}, "pairs") for arm, beta in _BETAS.items()}
    return Replication(
        id=name,
        paper=paper,
        task=TASKS["C"],
        arms=arms,
        shows=("accuracy", "median_margin", "chosen_ratio", "malformed"),
        **words,
    )


ROWS = (
    _signs("N1", "A"),
    _signs("N1-C", "C", sets="pairs"),
    _signs("N1-D", "D", _SMALL, steps=60, rate=2e-5),
    _of_beta(
        "N2",
        f"{PAPER}, section 3.2",
        claim="The larger beta, the smaller DPO's margin of log-ratios.",
        published="curves of beta-free rewards at beta 0.02 to 0.2",
        statistics=(
            Statistic(
                "slope of the median margin in log beta, with its sign turned",
                partial(slope, arms={arm: -log for arm, log in _LOG_BETAS.items()}, of=median_margin),
                0.1,
                "nats",
            ),
        ),
        falsified="a margin that does not fall with beta",
        differs="It follows from the loss where training lasts long enough. Here there are two "
        "epochs at one rate.",
    ),
    Replication(
        id="N3",
        paper=f"{PAPER}, section 3.4 and Fig. 6",
        claim="MinorDPO and DPOP bear ten times the learning rate of DPO, which then repeats tokens.",
        published="GSM8K at rates 1e-6 and 1e-5, read from Fig. 6; DPO's answers degenerate at the larger "
        "one",
        task=TASKS["A"],
        arms={
            arm: Arm(loss, rate=rate)
            for loss in (_DPO, _MINOR, _DPOP)
            for arm, rate in _RATES[str(loss["name"])].items()
        },
        statistics=(
            Statistic(
                "log of the rate that MinorDPO bears over DPO's", partial(_BEARS, first=_RATES["minor_dpo"]),
                0.5, "log of a ratio",
            ),
            Statistic(
                "log of the rate that DPOP bears over DPO's", partial(_BEARS, first=_RATES["dpop"]),
                0.5, "log of a ratio",
            ),
            Statistic(
                "accuracy at ten times the rate, MinorDPO - DPO",
                partial(difference, first="minor_dpo, rate x 10", second="dpo, rate x 10", of=accuracy), 0.02,
                decides=False,
            ),
        ),
        falsified="DPO bears the largest rate (less than 5 % malformed answers) that MinorDPO or DPOP bears",
        shows=("malformed", "accuracy", "chosen_ratio"),
        differs="What counts is malformed answers of a few tokens, not repetition in long ones. The "
        "smallest rate is already the one that suits DPO at beta 0.5 here, so that the three rates lie "
        "higher than the paper's.",
    ),
    _of_beta(
        "N4",
        f"{PAPER}, Fig. 6",
        claim="DPO gets worse as beta shrinks.",
        published="GSM8K at beta 0.02, 0.04, 0.2, read from Fig. 6",
        statistics=(
            Statistic(
                "accuracy per unit of log beta", partial(slope, arms=_LOG_BETAS, of=accuracy), 0.01
            ),
        ),
        falsified="no gain from a larger beta",
        differs="One rate for all, as in the paper. The three betas span a factor of 25.",
    ),
)  # fmt: skip
