"""MC-PO's claims: negatives by the kernel, how many, online, and the readings of its text."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from pairkit.replication.design import EPOCH, Arm, Replication, Statistic
from pairkit.replication.measured import START
from pairkit.replication.quantities import accuracy, effective
from pairkit.replication.statistics import difference, growth, interaction, level, settled, slope
from pairkit.replication.tasks.table import TASKS

PAPER = "MC-PO"
_LENGTH = 300  # steps, as in the quickstart


def _mc(sampling: str = "mc", beta: float = 0.5, sets: str = "sets", steps: int = 112, **more: Any) -> Arm:
    """A training with MC-PO's loss; sampled at random it is RNCE."""
    loss = {"name": "mcpo", "beta": beta, "negatives": 1, "sampling": sampling} | more
    return Arm(loss, sets, steps)


def _gap(name: str, first: str, second: str, plus: float = 0.0, *, decides: bool = True) -> Statistic:
    return Statistic(
        name, partial(difference, first=first, second=second, of=accuracy, plus=plus), 0.02, decides=decides
    )


_FEWER = {f"mc, {n}": n for n in range(1, 6)}
_READINGS = {
    "chosen included": _mc(include_chosen=True),
    "weights of log-probs": _mc(weights="logprob"),
    "equation 8": _mc(name="contrastive_divergence"),
}

ROWS = (
    Replication(
        id="M1",
        paper=f"{PAPER}, Table 2",
        claim="DPO on pairs whose rejected completion is the chosen one with two tokens exchanged "
        "degenerates; MC-PO on the same candidates does not, and is above random negatives.",
        published="Table 2: DPO(-), DPO and MC-PO on Nectar with swapped tokens",
        task=TASKS["C"],
        arms={
            "worst": Arm({"name": "dpo", "beta": 0.5}, "sets", fields={"negatives": {"sampling": "worst"}}),
            "random": _mc("random"),
            "mc": _mc("mc"),
        },
        statistics=(
            _gap("accuracy, start - worst, less 5 points", START, "worst", plus=-0.05),
            _gap("accuracy, mc - random", "mc", "random"),
        ),
        falsified="the arm of swapped tokens within 5 points of the start, or mc not above random negatives",
        shows=("accuracy", "malformed", "chosen_ratio", "own_entropy"),
        differs="Exchanged digits are an error that the model does make, so that learning from them helps. "
        "In a long answer they are nonsense that it never writes.",
    ),
    Replication(
        id="M3",
        paper=f"{PAPER}, Fig. 2",
        claim="Negatives by the kernel are as good as the hardest and better than the easiest, and more of "
        "them are better.",
        published="Fig. 2: mc, max and min with 5, 4, 3, 2, 1 negatives",
        task=TASKS["A"],
        arms={
            **{name: _mc(sets=f"near-{n}") for name, n in _FEWER.items()},
            "max, 5": _mc("max", sets="near-5"),
            "min, 5": _mc("min", sets="near-5"),
        },
        statistics=(
            _gap("accuracy, mc - min", "mc, 5", "min, 5"),
            Statistic(
                "accuracy per further negative, mc",
                partial(slope, arms={name: float(n) for name, n in _FEWER.items()}, of=accuracy), 0.005,
            ),
            _gap("accuracy, mc - max, plus 2 points", "mc, 5", "max, 5", plus=0.02),
        ),
        falsified="mc not above min, no gain from further negatives, or max more than 2 points above mc",
        shows=("accuracy", "malformed", "own_entropy", "effective"),
        differs="Negatives are taken away from the nearest on, as the paper removes the highest ranks. A set "
        "of eight samples often has fewer than five different wrong ones.",
    ),
    Replication(
        id="M4",
        paper=f"{PAPER}, Table 3",
        claim="Three negatives are better than one when the kernel draws them, not at random.",
        published="Table 3: RNCE and MC-PO with M = 1, 2, 3",
        task=TASKS["A"],
        arms={
            **{f"mc, M = {m}": _mc(negatives=m) for m in (1, 2, 3)},
            **{f"random, M = {m}": _mc("random", negatives=m) for m in (1, 2, 3)},
        },
        statistics=(
            Statistic(
                "gain from M = 1 to 3, mc - random",
                partial(
                    interaction, more="mc, M = 3", less="mc, M = 1", other_more="random, M = 3",
                    other_less="random, M = 1", of=accuracy,
                ),
                0.02,
            ),
            _gap("accuracy, mc, M = 3 - M = 1", "mc, M = 3", "mc, M = 1"),
        ),
        falsified="no larger gain under mc than at random",
        shows=("accuracy", "malformed", "chosen_ratio"),
        differs="Sets have two to five negatives here, so that three of them are often all there are. At "
        "random and by the kernel the same ones are then drawn.",
    ),
    Replication(
        id="M5",
        paper=f"{PAPER}, Table 1 and section 5.4",
        claim="OnMC-PO, which trains on new samples of the policy, is above MC-PO and above online DPO.",
        published="Table 1: OnMC-PO above MC-PO for each of three models",
        task=TASKS["A"],
        arms={
            "MC-PO": _mc(steps=_LENGTH),
            "OnMC-PO": Arm(dict(_mc().loss), "sets", _LENGTH, segments=3),
            "online DPO": Arm(
                {"name": "dpo", "beta": 0.5}, "sets", _LENGTH, fields={"negatives": {"sampling": "random"}},
                segments=3,
            ),
        },
        statistics=(
            _gap("accuracy, OnMC-PO - MC-PO", "OnMC-PO", "MC-PO"),
            _gap("accuracy, OnMC-PO - online DPO", "OnMC-PO", "online DPO"),
        ),
        falsified="either difference at 0 or below",
        shows=("accuracy", "malformed", "own_entropy"),
        differs="Both online arms see each problem about once with fresh answers, where the offline one sees "
        "its sets five times. With more prompts than steps that advantage is gone.",
    ),
    Replication(
        id="M6",
        paper=f"{PAPER}, section 5.4",
        claim="MC-PO is above DPO on all pairs of the same sets, which takes five times the steps.",
        published="DPO on the augmented set with four times the training time, below MC-PO",
        task=TASKS["A"],
        arms={
            "mc": _mc(),
            "dpo, all pairs": Arm({"name": "dpo", "beta": 0.5}, "sets", 5 * 112, fields={"expand": "pairs"}),
        },
        statistics=(_gap("accuracy, mc - DPO on all pairs", "mc", "dpo, all pairs"),),
        falsified="no difference, or a negative one",
        shows=("accuracy", "malformed", "chosen_ratio", "own_entropy"),
        differs="Both take each pair about ten times at most, so that neither overfits as a large model "
        "does. A set has two to four negatives here and five there.",
    ),
    Replication(
        id="M7",
        paper=f"{PAPER}, section 5.1",
        claim="Negatives by the kernel at the paper's beta of 0.01 are better than random ones.",
        published="beta 0.01 in all experiments",
        task=TASKS["A"],
        arms={"mc": _mc("mc", 0.01), "random": _mc("random", 0.01)},
        statistics=(
            _gap("accuracy, mc - random", "mc", "random"),
            Statistic(
                "share of negatives in effect, over 95 %",
                partial(level, arm="mc", of=effective, above=0.95), 0.01, decides=False,
            ),
        ),
        falsified="no difference. Predicted from the formula: nearly all negatives are in effect, the "
        "kernel is uniform, and there is none",
        shows=("accuracy", "effective", "malformed", "chosen_ratio"),
        differs="Log-ratios of long answers spread by tens of nats, those of three tokens by a few. At beta "
        "0.01 the kernel begins to choose at a spread of 50.",
    ),
    Replication(
        id="M8",
        paper=f"{PAPER}, Algorithm 1 and sections 1, 3.1, 5.4",
        claim="pairkit's reading of the text (the chosen completion is no candidate, weights by log-ratios, "
        "no negative twice, equation 7 on what is drawn) is no worse than the others.",
        published="the readings are not compared",
        task=TASKS["A"],
        arms={
            "default": _mc(),
            **_READINGS,
            "M = 2": _mc(negatives=2),
            "M = 2, replaced": _mc(negatives=2, replacement=True),
        },
        statistics=(
            *(
                _gap(f"accuracy, default - {name}, plus 2 points", "default", name, plus=0.02)
                for name in _READINGS
            ),
            _gap("accuracy, M = 2 - with replacement, plus 2 points", "M = 2", "M = 2, replaced", 0.02),
        ),
        falsified="a reading more than 2 points above the default: it should then be the default",
        shows=("accuracy", "malformed", "chosen_ratio", "own_entropy"),
        differs="With the chosen completion among the candidates training stops by itself, which is worth "
        "more the longer it lasts. The paper's own beta makes the readings alike.",
    ),
    Replication(
        id="M9",
        paper=f"{PAPER}, Table 4",
        claim="Two epochs are enough: the second is worth having, the third changes nothing.",
        published="Table 4: epochs 1, 2 and 3; all models of the paper are trained for two",
        task=TASKS["A"],
        arms={"mc": replace(_mc(steps=3 * EPOCH), marks=(EPOCH, 2 * EPOCH))},
        statistics=(
            Statistic(
                "accuracy, epoch 3 - 1", partial(growth, arm="mc", of=accuracy, since=0), 0.02, decides=False
            ),
            Statistic(
                "accuracy, change from epoch 2 to 3, within 2 points",
                partial(settled, arm="mc", of=accuracy, since=1, within=0.02), 0.005,
            ),
        ),
        falsified="more than 2 points between the epochs 2 and 3",
        shows=("accuracy", "own_entropy", "malformed", "chosen_ratio"),
        differs="The learning rate falls to 0 at the end of the third epoch, so that its second is not that "
        "of a training that ends there. A large model remembers what it has seen twice.",
    ),
)  # fmt: skip
