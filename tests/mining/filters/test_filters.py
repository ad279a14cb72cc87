"""Filters: each keeps what is within its bounds, whatever is in the table next to it, and tells the value."""

from __future__ import annotations

from typing import Any

import pytest
from support.candidates import candidate_set, completion, noise, table

from pairkit.errors import RecipeError
from pairkit.mining.filters import FilterRecipe, filter_sets, judge
from pairkit.mining.filters.stage import blocks
from pairkit.mining.filters.table import FILTERS
from pairkit.recipes import validate
from pairkit.schema import SETS

LONG = "one two three four five six seven eight"


def ranked(*texts: str, scores: tuple[float, ...] | None = None, **fields: Any) -> dict[str, Any]:
    scored = scores or tuple(map(float, range(len(texts), 0, -1)))
    made = [
        completion(text, score, rank=place)
        for place, (text, score) in enumerate(zip(texts, scored, strict=True), 1)
    ]
    return candidate_set(*made, **fields)


PAIR = ranked("good answer", "bad", scores=(4.0, 1.5), prompt="Why is that?")
# (block, a set that passes, one that does not, the value that is told)
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any], str]] = {
    "prompt_chars": ({"min": 5}, PAIR, ranked("a", "b", prompt="Why?"), "4"),
    "prompt_regex": ({"forbid": ["(?i)passwo"]}, PAIR, ranked("a", "b", prompt="My PASSWORD?"), "text"),
    "completions": ({"min": 2, "max": 3}, PAIR, ranked("a"), "1"),
    "completion_chars": ({"max": 20}, PAIR, ranked("x" * 21, "b"), "21"),
    "completion_regex": ({"require": ["answer|reply"]}, PAIR, ranked("neither", "answer"), "text"),
    "refusal": ({}, PAIR, ranked("I'm sorry, but I can't help with that.", "Yes"), "true"),
    "repetition": ({"max": 0.5, "ngram": 2}, PAIR, ranked("a b a b a b", "c"), "0.6"),
    "score": ({"min": 4}, PAIR, ranked("a", "b", scores=(3.5, 1.0)), "3.5"),
    "margin": ({"min": 1, "max": 3}, PAIR, ranked("a", "b", scores=(4.0, 3.5)), "0.5"),
    "pair_chars": ({"max": 8}, PAIR, ranked("x" * 12, "abc"), "9"),
    "diversity": ({"min": 1.5}, PAIR, ranked("the same words", "Words: the same!"), "1.0"),
}


def test_every_filter_has_a_case() -> None:
    languages = {"prompt_language", "completion_language"}
    assert CASES.keys() | languages == FILTERS.keys() == FilterRecipe.model_fields.keys()


def recipe(**fields: Any) -> FilterRecipe:
    return validate(FilterRecipe, fields)


@pytest.mark.parametrize("name", CASES)
def test_a_filter_keeps_what_is_within_its_bounds(name: str) -> None:
    block, passes, breaks, value = CASES[name]
    sets = table(passes, breaks, passes)
    result = filter_sets(sets, recipe(**{name: block}), before=FILTERS[name].before)
    assert result.sets.equals(sets.take([0, 2]))
    assert result.sets.schema == SETS
    row = result.quarantine.to_pylist()[0]
    assert (row["set_id"], row["reason"]) == (sets["set_id"][1].as_py(), f"filter_{name}")
    assert row["detail"].startswith(f"{name} is {value}; the filter has ")
    assert dict(result.counts) == {f"quarantined_filter_{name}": 1}


def test_bounds_are_part_of_what_stays() -> None:
    sets = table(ranked("abc", "d", scores=(3.0, 1.0)))
    for block in ({"margin": {"min": 2, "max": 2}}, {"completion_chars": {"min": 3, "max": 3}}):
        assert filter_sets(sets, recipe(**block)).sets.num_rows == 1


@pytest.mark.parametrize(
    ("of", "stays"),
    [("best", [True, False, True]), ("worst", [False, False, True]),
     ("any", [False, False, True]), ("all", [True, False, True])],
)  # fmt: skip
def test_which_completion_decides(of: str, stays: list[bool]) -> None:
    refuses = "I cannot do that."
    sets = table(ranked("yes", "maybe", refuses), ranked(refuses, "", refuses), ranked("yes", "no"))
    if of == "all":
        sets = table(ranked("yes", refuses), ranked(refuses, refuses), ranked("yes", "no"))
    kept = filter_sets(sets, recipe(refusal={"of": of})).sets["set_id"].to_pylist()
    assert [each in kept for each in sets["set_id"].to_pylist()] == stays


def test_noise_and_unranked_completions_are_no_worst_one() -> None:
    rows = [completion("best", 3.0, rank=1), completion("worst", 1.0, rank=2), completion("unranked" * 9)]
    sets = table(candidate_set(*rows, noise("noise " * 50)))
    assert filter_sets(sets, recipe(pair_chars={"max": 1}, margin={"min": 2, "max": 2})).sets.num_rows == 1


def test_what_has_no_value_stays() -> None:
    """A set without scores has no margin, one without completions no refusal."""
    sets = table(candidate_set(completion("a", rank=1), completion("b", rank=2)), candidate_set())
    asked = recipe(margin={"min": 1}, score={"min": 1}, refusal={"of": "all"}, diversity={"min": 1})
    assert filter_sets(sets, asked).sets.num_rows == 2
    assert filter_sets(sets, recipe(completions={"min": 1})).sets.num_rows == 1


def test_the_first_filter_of_the_table_is_the_reason() -> None:
    sets = table(ranked("x" * 30, "b", scores=(2.0, 1.9)))
    asked = recipe(margin={"min": 1}, completion_chars={"max": 9})
    result = filter_sets(sets, asked)
    assert result.quarantine["reason"].to_pylist() == ["filter_completion_chars"]
    assert result.counts == {"quarantined_filter_completion_chars": 1, "quarantined_filter_margin": 0}
    alone = judge(sets, blocks(asked, before=False)).drops
    assert alone.rows() == [(True, True)]


def test_a_set_is_judged_alone() -> None:
    made = [ranked(LONG, f"{LONG} {n}", "short", prompt=f"{n}?") for n in range(40)]
    made += [ranked("a b a b a b", "c", prompt=f"{n}!") for n in range(3)] + [candidate_set()]
    sets = table(*made)
    asked = recipe(diversity={"min": 1.7}, repetition={"max": 0.3, "of": "any"}, completion_chars={"max": 39})
    whole = filter_sets(sets, asked)
    parts = [filter_sets(sets.slice(start, 7), asked) for start in range(0, sets.num_rows, 7)]
    assert whole.sets.to_pylist() == [row for part in parts for row in part.sets.to_pylist()]
    assert whole.quarantine.to_pylist() == [row for part in parts for row in part.quarantine.to_pylist()]
    assert 0 < whole.sets.num_rows < sets.num_rows


def test_prompts_are_filtered_before_models_are_asked_and_the_rest_after() -> None:
    asked = recipe(prompt_chars={"max": 3}, score={"min": 9})
    assert list(blocks(asked, before=True)) == ["prompt_chars"]
    assert list(blocks(asked, before=False)) == ["score"]


WRONG = {
    "unknown filter": ({"margins": {"min": 1}}, "unknown recipe key 'margins'; did you mean 'margin'? Known"),
    "no bound": ({"margin": {}}, "a filter with bounds needs min or max, or both"),
    "crossed": ({"margin": {"min": 2, "max": 1}}, "a filter's min must not be above its max, got 2 and 1"),
    "not a number": ({"margin": {"min": "high"}}, "recipe key 'margin.min': Input should be a valid number"),
    "percentage": (
        {"repetition": {"max": 30}},
        "recipe key 'repetition.max': Input should be less than or equal to 1 (got 30)",
    ),
    "no pattern": ({"prompt_regex": {}}, "a filter of regular expressions needs require or forbid, or both"),
    "open group": (
        {"prompt_regex": {"forbid": ["(a"]}},
        "cannot compile the regular expression '(a': unclosed group",
    ),
    "look-around": (
        {"completion_regex": {"forbid": ["(?=a)"]}},
        "cannot compile the regular expression '(?=a)': look-around, including look-ahead and look-behind, "
        "is not supported",
    ),
    "too large": (
        {"prompt_regex": {"forbid": ["(a{1000}){1000}"]}},
        r"cannot compile the regular expression '(a{1000}){1000}': ",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_filters_are_refused(kind: str) -> None:
    block, message = WRONG[kind]
    with pytest.raises(RecipeError) as refused:
        recipe(**block)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_pattern_that_backtracks_elsewhere_takes_linear_time() -> None:
    """With backtracking, (a+)+$ on 100,000 letters that end in another one would not end."""
    sets = table(ranked("a" * 100_000 + "b", "c"))
    assert filter_sets(sets, recipe(completion_regex={"forbid": ["^(a+)+$"]})).sets.num_rows == 1


def test_a_long_pattern_is_not_repeated_in_every_row_of_the_quarantine() -> None:
    pattern = "|".join(f"word{number}" for number in range(10_000))
    result = filter_sets(table(ranked("word7", "c")), recipe(completion_regex={"forbid": [pattern]}))
    assert max(map(len, result.quarantine["detail"].to_pylist())) < 400
