"""`min_agreement`: completions stay that enough of the panel places below the chosen one."""

from __future__ import annotations

from typing import Any

import pytest
from support.candidates import candidate_set, completion, noise, table, texts

from pairkit.mining import MineRecipe, mine
from pairkit.pipeline.ordering import order
from pairkit.schema import StageResult

NAMES = ("a", "b", "c")


def mined(*scores: tuple[float | None, ...], others: Any = (), **recipe: Any) -> StageResult:
    """Mine a set of completions with these scores of a, b and c, ordered by a."""
    made = [
        completion(
            chr(ord("p") + place),
            scores=[
                {"name": name, "value": each}
                for name, each in zip(NAMES, row, strict=True)
                if each is not None
            ],
        )
        for place, row in enumerate(scores)
    ]
    sets = order(table(candidate_set(*made, *others)), by="a").sets
    return mine(sets, MineRecipe(**recipe), seed=0, panel=NAMES)


# Below p: q for all three, r for two, s for one, t for none but a.
SCORES = [(9, 9, 9), (8, 8, 8), (7, 7, 10), (6, 9, 10), (5, 9, None)]


@pytest.mark.parametrize(
    ("share", "stay"),
    [(0.1, "pqrst"), (1 / 3, "pqrst"), (0.34, "pqr"), (2 / 3, "pqr"), (0.67, "pq"), (1, "pq")],
)
def test_enough_of_the_panel_has_to_agree(share: float, stay: str) -> None:
    result = mined(*SCORES, min_agreement=share)
    assert texts(result.sets) == [list(stay)]
    assert result.counts["dropped_agreement"] == 5 - len(stay)
    assert result.counts["completions_in"] == result.counts["completions_out"] + 5 - len(stay)


def test_a_set_about_which_the_panel_disagrees_goes_to_quarantine() -> None:
    result = mined((2, 1, 1), (1, 2, 1), min_agreement=0.5)
    assert result.quarantine["reason"].to_pylist() == ["one_completion"]
    assert "dropped: 1 agreement" in result.quarantine["detail"][0].as_py()
    assert result.counts["completions_quarantined"] == 2


def test_noise_is_below_and_stays() -> None:
    result = mined((2, 2, 2), (1, 1, 1), others=[noise("x")], min_agreement=1)
    assert texts(result.sets) == [["p", "q", "x"]]


def test_negatives_are_kept_of_those_that_are_agreed_on() -> None:
    assert texts(mined(*SCORES, min_agreement=0.5, keep_negatives=1).sets) == [["p", "r"]]


def test_without_it_nothing_is_counted() -> None:
    assert "dropped_agreement" not in mined(*SCORES).counts
