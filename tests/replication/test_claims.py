"""The replications: each can be run and decided, and all methods of a claim have equal budgets."""

from __future__ import annotations

import math

import pytest
from support.replications import made_up

from pairkit.errors import RecipeError
from pairkit.recipes import merge, validate
from pairkit.replication.claims.table import REPLICATIONS, find
from pairkit.replication.design import Replication
from pairkit.replication.quantities import QUANTITIES
from pairkit.replication.tasks.base import FULL, QUICK
from pairkit.sweep.grid import points
from pairkit.training.recipe import TrainRecipe

ROWS = pytest.mark.parametrize("row", REPLICATIONS.values(), ids=list(REPLICATIONS))
ASKED = {"N1", "N3", "P1", "P2", "P4", "S1", "S3", "S4", "A1", "A2", "M1", "M3", "M4", "M5", "M7", "M8"}


def test_the_table_has_the_claims_that_were_asked_for() -> None:
    assert REPLICATIONS.keys() >= ASKED


@ROWS
def test_every_statistic_is_a_number_of_the_arms(row: Replication) -> None:
    for size in (FULL, QUICK):
        seed = made_up(row, size=size)
        assert all(math.isfinite(each.of(seed)) for each in row.statistics)
    assert any(each.decides for each in row.statistics)
    assert all(each.least > 0 for each in row.statistics)


@ROWS
def test_every_arm_is_a_recipe_on_sets_that_its_task_has(row: Replication) -> None:
    for arm in row.arms.values():
        assert arm.sets in row.task.sets
        for point in points(arm.grid):
            content = merge(row.task.training, arm.with_settings(point.fields).recipe())
            recipe = validate(TrainRecipe, {**content, "data": "sets", "model": "model"})
            assert recipe.max_steps == arm.steps
        assert all(mark % arm.marks[0] == 0 and mark < arm.steps for mark in arm.marks)


@ROWS
def test_all_methods_of_a_claim_have_as_many_settings_to_choose_from(row: Replication) -> None:
    assert len({len(points(arm.grid)) for arm in row.arms.values()}) == 1


@ROWS
def test_a_row_states_what_a_reader_needs(row: Replication) -> None:
    assert row.claim.endswith(".")
    assert row.differs.count(". ") == 1
    assert not row.published.endswith(".")
    assert not row.falsified.endswith(".")
    assert set(row.shows) <= QUANTITIES.keys()
    assert any(row.id.startswith(letter) for letter in "SPAMN")


def test_names_are_found_once_and_in_order() -> None:
    assert [row.id for row in find(["P1", "N1", "P1"])] == ["P1", "N1"]
    with pytest.raises(RecipeError, match="unknown replication 'N11'; did you mean 'N1'"):
        find(["N11"])


def test_claims_of_one_task_share_their_arms() -> None:
    keys = {name: {arm.key for arm in REPLICATIONS[name].arms.values()} for name in ("S3", "S4", "M1", "M8")}
    assert keys["S3"] == keys["S4"]
    assert len(keys["M8"]) == len(REPLICATIONS["M8"].arms)
