"""Designs: equal content has equal names, and whatever decides a result changes the hash."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from support.replications import RATES, TASK, arm, replication

from pairkit.replication import statistics
from pairkit.replication.design import Arm, Statistic, code_of
from pairkit.replication.measured import Seed
from pairkit.replication.quantities import accuracy, malformed
from pairkit.replication.tasks.base import FULL, QUICK


def test_an_arm_is_named_by_its_content() -> None:
    assert arm().key == Arm({"beta": 0.1, "name": "dpo"}, "pairs", 2, rate=0.01).key
    others = [
        arm("minor_dpo"), arm(steps=3), arm(marks=(1,)), arm(fields={"negatives": {"sampling": "worst"}}),
        arm(segments=2), replace(arm(), rate=0.02), replace(arm(), sets="sets"),
    ]  # fmt: skip
    assert len({arm().key, *(other.key for other in others)}) == 1 + len(others)


def test_chosen_settings_make_the_arm_that_has_them() -> None:
    chosen = arm(grid=(RATES,)).with_settings({"optimizer": {"learning_rate": 0.5}, "loss": {"beta": 0.3}})
    plain = Arm({"name": "dpo", "beta": 0.3}, "pairs", 2, rate=0.5)
    assert chosen.recipe() == plain.recipe()
    assert chosen.key == plain.key
    assert chosen.grid == ()


def test_a_quick_arm_has_as_many_marks() -> None:
    quick = arm(steps=280, marks=(56, 168)).sized(QUICK)
    assert quick.steps == QUICK.steps == 6
    assert quick.marks == (2, 4)
    assert arm(steps=280).sized(FULL) == arm(steps=280)


def _changed(**fields: Any) -> Any:
    return replace(replication(), **fields)


@pytest.mark.parametrize(
    "other",
    [
        _changed(arms={"dpo": arm(steps=3), "minor_dpo": arm("minor_dpo")}),
        _changed(arms={"dpo": arm(grid=(RATES,)), "minor_dpo": arm("minor_dpo")}),
        _changed(task=replace(TASK, samples=7)),
        _changed(task=replace(TASK, sets={"pairs": {}})),
        _changed(statistics=(Statistic("gain", partial(statistics.level, arm="dpo", of=accuracy), 0.1),)),
    ],
    ids=["steps", "grid", "samples", "sets", "statistic"],
)
def test_whatever_decides_a_result_changes_the_hash(other: Any) -> None:
    assert other.digest(FULL) != replication().digest(FULL)


def test_words_do_not_change_the_hash() -> None:
    assert _changed(claim="Other words.", differs="No. No.").digest(FULL) == replication().digest(FULL)
    assert replication().digest(FULL) != replication().digest(QUICK)


def test_the_code_of_a_statistic_is_part_of_it() -> None:
    def first(seed: Seed) -> float:
        return 1.0

    def other(seed: Seed) -> float:
        return 2.0

    def documented(seed: Seed) -> float:
        """The same as `first`."""
        # With a comment.
        return 1.0

    other.__qualname__ = documented.__qualname__ = first.__qualname__
    code = [
        str(code_of(each)).replace("other", "first").replace("documented", "first") for each in (first, other)
    ]
    assert code[0] != code[1]
    assert code_of(partial(statistics.level, arm="a", of=accuracy)) != code_of(
        partial(statistics.level, arm="a", of=malformed)
    )
