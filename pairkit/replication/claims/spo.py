"""SPO's claims: where it drives a pair, and that it beats the others."""

from __future__ import annotations

from functools import partial

from pairkit.replication.design import RATE, Arm, Replication, Statistic
from pairkit.replication.quantities import (
    accuracy,
    both_fall,
    chosen_ratio,
    median_margin,
    median_rejected,
)
from pairkit.replication.statistics import difference, near
from pairkit.replication.tasks.table import TASKS
from pairkit.sweep.grid import axis

PAPER = "SPO"
_TARGETS = ((0.2, 0.5), (0.5, 0.5), (0.5, 1.0))  # beta, alpha
_RATES = axis("optimizer.learning_rate", [RATE / 6, RATE / 3, RATE])


def _spo(beta: float, alpha: float) -> dict[str, object]:
    return {"name": "spo", "beta": beta, "alpha": alpha}


def _name(beta: float, alpha: float) -> str:
    return f"spo {beta:g}, {alpha:g}"


def _optimum(beta: float, alpha: float) -> tuple[Statistic, Statistic]:
    arm, quarter = _name(beta, alpha), 0.25
    return (
        Statistic(
            f"{arm}: nearness of the median margin to {1 / beta:g}",
            partial(near, arm=arm, of=median_margin, target=1 / beta, share=quarter), 0.05, "of it",
        ),
        Statistic(
            f"{arm}: nearness of the rejected median to {-1 / alpha:g}",
            partial(near, arm=arm, of=median_rejected, target=-1 / alpha, share=quarter), 0.05, "of it",
        ),
    )  # fmt: skip


def _tuned(loss: dict[str, object], key: str, values: list[float], **fields: object) -> Arm:
    return Arm({**loss, **fields}, grid=(_RATES, axis(f"loss.{key}", values)))


def _win(name: str, first: str, second: str, *, decides: bool = False) -> Statistic:
    # P(first right, second wrong) + half of P(equal), minus one half: half the difference of accuracies.
    return Statistic(
        name, partial(difference, first=first, second=second, of=accuracy, scale=0.5), 0.01, decides=decides
    )


ROWS = (
    Replication(
        id="P1",
        paper=f"{PAPER}, Eq. 6",
        claim="SPO drives the margin of log-ratios to 1/beta and the rejected log-ratio to -1/alpha.",
        published="theory: the optimum of Eq. 6, whose sign of b is misprinted",
        task=TASKS["A"],
        arms={_name(*each): Arm(_spo(*each), steps=560, rate=RATE / 3) for each in _TARGETS},
        statistics=tuple(statistic for each in _TARGETS for statistic in _optimum(*each)),
        falsified="the median of either number, over training pairs, farther than 25 % from its target",
        shows=("median_margin", "median_rejected", "chosen_ratio", "accuracy"),
        differs="The optimum is that of every pair by itself, and one model of few weights has to serve all "
        "pairs. Ten epochs at a small rate may still be too few steps to get there.",
    ),
    Replication(
        id="P2",
        paper=f"{PAPER}, abstract and section 4.1",
        claim="Under SPO chosen and rejected completions do not both become less probable, as under DPO.",
        published="theory",
        task=TASKS["A"],
        arms={
            "spo": Arm(_spo(0.2, 0.5), steps=560, rate=RATE / 3),
            "dpo": Arm({"name": "dpo", "beta": 0.2}, steps=560, rate=RATE / 3),
            "dpo, smoothed": Arm(
                {"name": "dpo", "beta": 0.2, "label_smoothing": 0.1}, steps=560, rate=RATE / 3
            ),
            "ipo": Arm({"name": "ipo", "beta": 0.1, "reduction": "sum"}, steps=560, rate=RATE / 3),
        },
        statistics=(
            Statistic(
                "mean log-ratio of chosen completions, SPO - DPO",
                partial(difference, first="spo", second="dpo", of=chosen_ratio), 0.1, "nats",
            ),
            Statistic(
                "share of pairs of which both fall, DPO - SPO",
                partial(difference, first="dpo", second="spo", of=both_fall), 0.02,
            ),
        ),
        falsified="as large a share of such pairs under SPO as under DPO",
        shows=("both_fall", "chosen_ratio", "rejected_ratio", "accuracy"),
        differs="All arms have one rate, and DPO's finite optimum with smoothing is the paper's own "
        "baseline. Longer completions leave more room for both to fall.",
    ),
    Replication(
        id="P4",
        paper=f"{PAPER}, Tables 1 and 2",
        claim="SPO is above DPO, IPO and KTO head to head.",
        published="Tables 1, 2: judged by GPT-4o, 200 prompts, ties half; SPO above 50 % against each",
        task=TASKS["A"],
        arms={
            "spo": _tuned({"name": "spo", "beta": 0.2}, "alpha", [0.2, 0.5]),
            "dpo": _tuned({"name": "dpo"}, "beta", [0.1, 0.5], label_smoothing=0.1),
            "ipo": _tuned({"name": "ipo"}, "beta", [0.1, 0.25], reduction="sum"),
            "kto": _tuned({"name": "kto"}, "beta", [0.1, 0.5]),
        },
        statistics=(
            _win("win rate of SPO over DPO - 50 %", "spo", "dpo", decides=True),
            _win("win rate of SPO over IPO - 50 %", "spo", "ipo"),
            _win("win rate of SPO over KTO - 50 %", "spo", "kto"),
            _win("win rate of DPO over IPO - 50 %", "dpo", "ipo"),
            _win("win rate of IPO over KTO - 50 %", "ipo", "kto"),
        ),
        falsified="SPO's win rate over DPO at 50 % or below",
        shows=("accuracy", "malformed", "chosen_ratio", "own_entropy"),
        differs="There is one right answer, and no judge prefers one right answer to another. SPO was far "
        "from its optimum after two epochs in a pilot, and the paper does not publish how long it trains.",
    ),
)  # fmt: skip
