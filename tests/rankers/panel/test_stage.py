"""The score of a panel, its agreement in counts that add up, and what is no panel."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.candidates import candidate_set, column, completion, noise, table

from pairkit.errors import RecipeError
from pairkit.intervals import Floats
from pairkit.pipeline.ordering import order
from pairkit.pipeline.recipe import BuildRecipe
from pairkit.rankers.panel.agreement import PAIRS, describe_panel, panel_alpha
from pairkit.rankers.panel.alpha import krippendorff_alpha
from pairkit.rankers.panel.stage import add_panel, check_panel
from pairkit.recipes import validate
from pairkit.schema import SETS, check_sets

NAMES = ("a", "b", "c")


def judged(scores: list[list[float | None]], prompt: str = "Why?", *others: Any) -> dict[str, Any]:
    """A set whose completions have these scores, one per ranker; None: none."""
    made = [
        completion(
            f"text {place}",
            scores=[
                {"name": name, "value": value}
                for name, value in zip(NAMES, row, strict=False)
                if value is not None
            ],
        )
        for place, row in enumerate(scores)
    ]
    return candidate_set(*made, *others, prompt=prompt)


def test_the_score_is_the_mean_place_whatever_the_scales() -> None:
    sets = table(judged([[5, -0.1, 1], [3, -0.5, 3], [1, 2.5, 2]]))
    result = add_panel(sets, names=NAMES)
    check_sets(result.sets)
    # Places of the three: a 1, 1/2, 0; b 1/2, 0, 1; c 0, 1, 1/2.
    assert [named(row) for row in result.sets["completions"].to_pylist()[0]] == [0.5, 0.5, 0.5]
    two = add_panel(sets, names=("a", "b"))
    assert [named(row) for row in two.sets["completions"].to_pylist()[0]] == [0.75, 0.25, 0.5]
    ordered = order(two.sets, by="panel").sets
    assert column(ordered, "text") == [["text 0", "text 2", "text 1"]]
    assert column(ordered, "rank") == [[1, 2, 3]]
    # Until then, rank and score are those of before.
    assert column(two.sets, "score") == [[None] * 3]


def named(row: dict[str, Any]) -> float | None:
    return next((score["value"] for score in row["scores"] if score["name"] == "panel"), None)


def test_what_one_ranker_has_not_scored_has_no_place_and_noise_neither() -> None:
    sets = table(judged([[1, 1], [2, None], [3, 0]], "Why?", noise("text x")), judged([[1, 2]], "One?"))
    result = add_panel(sets, names=("a", "b"))
    assert [[named(one) for one in row] for row in result.sets["completions"].to_pylist()] == [
        [0.5, None, 0.5, None],
        [None],
    ]
    assert result.counts[PAIRS] == 1
    assert result.counts["panel_a_b_opposite"] == 1


def test_an_empty_table_has_counts_of_zero() -> None:
    result = add_panel(SETS.empty_table(), names=NAMES)
    assert result.sets.num_rows == 0
    assert set(result.counts.values()) == {0}
    assert len(result.counts) == 1 + 3 * 4
    assert describe_panel({"recipe": {"panel": NAMES}, "counts": {"rank": dict(result.counts)}}) == []


def preferences(sets: list[list[list[int]]]) -> Floats:
    """Return `[rankers, pairs]`: each ordered pair of completions of each set."""
    columns = [
        np.sign(np.array(scores)[first] - np.array(scores)[second])
        for scores in sets
        for first in range(len(scores))
        for second in range(len(scores))
        if first != second
    ]
    return np.array(columns, np.float64).reshape(-1, 3).T


@settings(max_examples=30)
@given(
    st.lists(
        st.lists(st.lists(st.integers(0, 2), min_size=3, max_size=3), min_size=1, max_size=4), max_size=4
    )
)
def test_the_counts_give_alpha_of_the_preferences_and_add_up(sets: list[list[list[int]]]) -> None:
    """Counts of tables that are added are those of the tables together, as over units of a build."""
    tables = [table(judged(scores, f"{number}?")) for number, scores in enumerate(sets)]  # type: ignore[arg-type]
    summed = Counter[str]()
    for part in tables:
        summed.update(add_panel(part, names=NAMES).counts)
    together = add_panel(pa.concat_tables([SETS.empty_table(), *tables]), names=NAMES).counts
    assert Counter(together) == +summed or not any(together.values())
    ours, theirs = panel_alpha(NAMES, together), krippendorff_alpha(preferences(sets), "interval")
    assert ours == pytest.approx(theirs, nan_ok=True)


def test_the_agreement_is_described_in_words() -> None:
    sets = table(*(judged([[2, 2, 1], [1, 1, 2]], f"{number}?") for number in range(10)))
    counts = add_panel(sets, names=NAMES).counts
    lines = describe_panel({"recipe": {"panel": NAMES}, "counts": {"rank": dict(counts)}})
    assert lines[0].startswith("panel of a, b, c: Krippendorff's alpha -0.3")
    assert "of 10 pairs of completions" in lines[0]
    assert lines[1].startswith("a and b: agree on 100.0% [72.2%, 100.0%] of the pairs, opposite on 0.0%")
    assert lines[2].startswith("a and c: agree on 0.0% [0.0%, 27.8%] of the pairs, opposite on 100.0%")
    assert describe_panel({"recipe": {}, "counts": {}}) == []


JUDGES = [{"ranker": "judge", "model": "m", "name": name} for name in ("a", "b")]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"panel": ["a"]}, "recipe key 'panel' must name at least two rankers, each once, got a"),
        ({"panel": []}, "recipe key 'panel' must name at least two rankers, each once, got none"),
        ({"panel": ["a", "a"]}, "each once, got a, a"),
        (
            {"panel": ["a", "x"]},
            "recipe key 'panel': 'x' is not one of the rankers: name two or more of a, b",
        ),
        ({"panel": ["a", "annotations"]}, "'annotations' adds no score of its own: name two or more of a, b"),
        ({"panel": ["a", "b"], "order": "x"}, "'x' is not one of the rankers: a, b, annotations, panel"),
        (
            {"mine": {"min_agreement": 0.5}},
            "recipe key 'mine.min_agreement' needs a panel: name two or more rankers in panel, as in "
            "panel=[a, b]; rank has a, b, annotations",
        ),
        (
            {"panel": ["a", "b"], "mine": {"min_agreement": 1.5}},
            "'mine.min_agreement': Input should be less than or equal to 1",
        ),
        (
            {"panel": ["a", "b"], "mine": {"min_agreement": 0}},
            "'mine.min_agreement': Input should be greater than 0 (got 0)",
        ),
    ],
)
def test_what_is_no_panel_is_refused(fields: dict[str, Any], said: str) -> None:
    blocks = [*JUDGES, {"ranker": "annotations"}]
    with pytest.raises(RecipeError) as refused:
        validate(BuildRecipe, {"source": {"name": "arithmetic"}, "rank": blocks, **fields})
    assert said in str(refused.value)


def test_min_agreement_with_one_judge_is_refused() -> None:
    fields = {"source": {"name": "arithmetic"}, "rank": JUDGES[0], "mine": {"min_agreement": 0.5}}
    with pytest.raises(RecipeError, match=r"'mine.min_agreement' needs a panel: .* rank has a"):
        validate(BuildRecipe, fields)


def test_a_recipe_without_a_panel_is_what_it_was() -> None:
    plain = BuildRecipe(source={"name": "arithmetic"})  # type: ignore[arg-type]
    assert "panel" not in plain.model_dump()
    assert "min_agreement" not in plain.model_dump(mode="json")["mine"]
    made = validate(BuildRecipe, {"source": {"name": "arithmetic"}, "rank": JUDGES, "panel": ["a", "b"]})
    assert made.orders_by == "panel"
    assert made.model_dump(mode="json")["panel"] == ["a", "b"]


def test_names_that_are_ambiguous_when_joined_are_refused() -> None:
    with pytest.raises(ValueError, match="two pairs of a, b_c, a_b, c have one name"):
        check_panel(names := ["a", "b_c", "a_b", "c"], names, names)
