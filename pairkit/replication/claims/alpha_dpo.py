"""alpha-DPO's claims: it is at least as good as SimPO, and needs its stop-gradient."""

from __future__ import annotations

from functools import partial

from pairkit.replication.design import RATE, Arm, Replication, Statistic
from pairkit.replication.quantities import accuracy
from pairkit.replication.statistics import difference
from pairkit.replication.tasks.table import TASKS
from pairkit.sweep.grid import axis

PAPER = "alpha-DPO"
_BASE = {"name": "alpha_dpo", "beta": 2.5, "gamma_beta_ratio": 0.6}
_RATES = axis("optimizer.learning_rate", [RATE / 6, RATE / 3, RATE])
# alpha of the paper's Llama-3 runs, and one far above the deviation of M; the rate decides that deviation.
_CASES = {"alpha 0.2": (0.2, RATE), "alpha 0.2, rate / 10": (0.2, RATE / 10), "alpha 1.5": (1.5, RATE)}


def _arms(name: str, alpha: float, rate: float) -> dict[str, Arm]:
    loss = {**_BASE, "alpha": alpha}
    return {
        name: Arm(loss, rate=rate),
        f"{name}, no stop-gradient": Arm({**loss, "stop_gradient": False}, rate=rate),
    }


def _collapse(name: str, *, decides: bool) -> Statistic:
    return Statistic(
        f"{name}: accuracy with the stop-gradient - without",
        partial(difference, first=name, second=f"{name}, no stop-gradient", of=accuracy), 0.02,
        decides=decides,
    )  # fmt: skip


ROWS = (
    Replication(
        id="A1",
        paper=f"{PAPER}, Table 1",
        claim="alpha-DPO is at least as good as SimPO, which it is at alpha 0.",
        published="AlpacaEval 2 LC, alpha-DPO over SimPO: 2.8, 2.1 and 3.1 points over the best baseline",
        task=TASKS["A"],
        arms={
            "simpo": Arm(
                {**_BASE, "alpha": 0.0}, grid=(_RATES, axis("loss.gamma_beta_ratio", [0.3, 0.6]))
            ),
            "alpha_dpo": Arm(_BASE, grid=(_RATES, axis("loss.alpha", [0.05, 0.2]))),
        },
        statistics=(
            Statistic(
                "accuracy, alpha-DPO - SimPO",
                partial(difference, first="alpha_dpo", second="simpo", of=accuracy), 0.02,
            ),
        ),
        falsified="no difference of 2 points, or a negative one",
        shows=("accuracy", "malformed", "own_entropy", "adaptive_deviation"),
        differs="Lengths hardly differ here, and a margin that adapts to the pair has little to adapt to. "
        "The paper's gains are of judged win rates of 8 billion weights.",
    ),
    Replication(
        id="A2",
        paper=f"{PAPER}, Table 2",
        claim="Without the stop-gradient training is worse; in the paper it collapses.",
        published="LC of Llama-3 v0.2 falls to 2.7 (alpha 0.2), of Mistral to 27.2 (alpha 0.05)",
        task=TASKS["A"],
        arms={
            name: arm
            for case, (alpha, rate) in _CASES.items()
            for name, arm in _arms(case, alpha, rate).items()
        },
        statistics=(
            _collapse("alpha 0.2", decides=True),
            _collapse("alpha 0.2, rate / 10", decides=False),
            _collapse("alpha 1.5", decides=False),
        ),
        falsified="less than 2 points between the two at the paper's alpha. Predicted from the formula: a "
        "collapse only where alpha is above the standard deviation of M, which the other two rows vary",
        shows=("accuracy", "adaptive_deviation", "median_margin", "malformed"),
        differs="The standard deviation of M is near 1 here and near 0.07 there, so that the paper's alpha "
        "of 0.2 is below it here and above it there. The same formula predicts both.",
    ),
)  # fmt: skip
