"""Filters, counts under all other filters, sorts, pages, disagreement and refusals."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.sets_to_view import asked, rows_of

from pairkit.dataset import reader
from pairkit.errors import RecipeError
from pairkit.view.collection import Collection, opened
from pairkit.view.disagreement import differing
from pairkit.view.facets import Numbers
from pairkit.view.query import query


def counts(answer: Mapping[str, Any], facet: str) -> dict[str | None, int]:
    return dict(answer["facets"][facet]["values"])


def test_values_and_ranges_filter_sets(five: Collection):
    assert rows_of(asked(five, filters={"model": {"values": ["b"]}})) == [1]
    assert rows_of(asked(five, filters={"model": {"values": ["b", "c"]}})) == [1, 2, 4]
    assert rows_of(asked(five, filters={"origin": {"values": ["noise"]}})) == [0]
    assert rows_of(asked(five, filters={"finish_reason": {"values": [None]}})) == [0, 1, 2, 3, 4]
    assert rows_of(asked(five, filters={"split": {"values": ["train"]}})) == [0]
    assert rows_of(asked(five, filters={"source": {"values": ["second"]}})) == [3, 4]
    assert rows_of(asked(five, filters={"margin": {"min": 2}})) == [0, 1]
    assert rows_of(asked(five, filters={"margin": {"min": 2.5, "max": 7}})) == [1]
    assert rows_of(asked(five, filters={"completions": {"max": 1}})) == [3]
    assert rows_of(asked(five, filters={"model": {"values": ["a"]}, "completions": {"min": 2}})) == [0, 1, 2]
    assert rows_of(asked(five, filters={"model": {"values": ["nobody"]}})) == []
    assert rows_of(asked(five, filters={"model": {"values": []}})) == []


def test_each_facet_is_counted_under_all_other_filters(five: Collection):
    answer = asked(five, filters={"model": {"values": ["b"]}, "completions": {"min": 2}})
    assert answer["total"] == 1
    # Of the models under the filter of completions alone, of which there are four sets.
    assert counts(answer, "model") == {"a": 3, "b": 1, "c": 2, "noise:word_swap": 1}
    assert answer["facets"]["completions"] == {
        "edges": [0.5, 1.5, 2.5, 3.5],
        "counts": [0, 0, 1],
        "missing": 0,
    }
    # A facet without a filter of its own is counted under both.
    assert counts(answer, "source") == {"first": 1, "second": 0}
    assert answer["facets"]["margin"]["missing"] == 0


def test_counts_are_those_of_a_loop_over_all_sets(built_folder: Path):
    filters = {"model": {"values": ["gpt-4", "bard"]}, "best": {"min": 3}, "split": {"values": ["train"]}}
    data = reader.load(built_folder)
    sets = [
        (split, row) for split in ("train", "test") for each in data.tables(split) for row in each.to_pylist()
    ]

    def models(row: Any) -> set[str]:
        return {each["model"] for each in row["completions"]}

    def best(row: Any) -> float:
        return float(max(each["score"] for each in row["completions"] if each["score"] is not None))

    def fits(split: str, row: Any, but: str = "") -> bool:
        return all(
            name == but
            or {
                "model": bool(models(row) & {"gpt-4", "bard"}),
                "best": best(row) >= 3,
                "split": split == "train",
            }[name]
            for name in filters
        )

    with opened(built_folder) as collection:
        answer = asked(collection, filters=filters, limit=500)
        assert rows_of(answer) == [number for number, each in enumerate(sets) if fits(*each)]
        for name, number in counts(answer, "model").items():
            assert number == sum(name in models(row) for split, row in sets if fits(split, row, "model"))
        for name, number in counts(answer, "split").items():
            assert number == sum(split == name for split, row in sets if fits(split, row, "split"))
        histogram = answer["facets"]["best"]
        values = [best(row) for split, row in sets if fits(split, row, "best")]
        assert histogram["counts"] == np.histogram(values, histogram["edges"])[0].tolist()


def test_numbers_sort_with_missing_ones_last_and_ties_in_the_order_of_the_files(five: Collection):
    def order(by: str, descending: bool) -> list[int]:
        return rows_of(asked(five, sort={"by": by, "descending": descending}))

    assert order("margin", True) == [1, 0, 2, 3, 4]
    assert order("margin", False) == [0, 1, 2, 3, 4]
    assert order("completions", True) == [0, 1, 2, 4, 3]
    assert order("completions", False) == [3, 2, 4, 0, 1]
    assert order("length:prompt", True)[0] == 1


def test_pages_are_parts_of_one_list(built_folder: Path):
    with opened(built_folder) as collection:
        sort = {"by": "best", "descending": True}
        every = rows_of(asked(collection, sort=sort, limit=500))
        assert len(every) == collection.index.listing.size
        pages = [
            rows_of(asked(collection, sort=sort, offset=begin, limit=7)) for begin in range(0, len(every), 7)
        ]
        assert [row for page in pages for row in page] == every
        assert asked(collection, offset=10_000)["rows"] == []
        assert asked(collection, limit=0)["rows"] == []


def test_a_row_of_the_list_tells_what_is_asked_first(five: Collection):
    (row,) = asked(five, filters={"model": {"values": ["b"]}})["rows"]
    assert row["prompt"] == "The capital of FRANCE?"
    assert (row["models"], row["completions"], row["margin"]) == (["a", "b"], 3, 7.0)
    assert row["lengths"] == {"prompt": 31, "chosen": 5, "longest": 15}
    assert (row["split"], row["source"], row["segment"], row["error"]) == ("test", "first", None, None)


def test_the_share_of_pairs_in_other_order_filters_and_sorts(five: Collection):
    request: dict[str, Any] = {"disagree": {"first": "x", "second": "y"}}
    answer = asked(five, **request, sort={"by": "disagreement", "descending": True})
    assert [(row["row"], row["disagreement"]) for row in answer["rows"]] == [
        (1, 1.0), (0, 0.0), (2, None), (3, None), (4, None),
    ]  # fmt: skip
    assert rows_of(asked(five, **request, filters={"disagreement": {"min": 0.5}})) == [1]
    # The order of the names is of no matter, and the rank orders as scores do.
    assert five.disagreement("y", "x") is five.disagreement("x", "y")
    numbers = five.disagreement("score", "rank").numbers
    assert numbers[:2].tolist() == [0, 0]
    assert np.isnan(numbers[2:]).all()


def test_disagreement_is_that_of_a_loop_over_pairs():
    random = np.random.default_rng(0)
    sizes = random.integers(0, 9, 60)
    cuts = np.concatenate([[0], np.cumsum(sizes)])
    first, second = (random.integers(0, 4, cuts[-1]).astype(float) for _ in range(2))
    first[random.random(len(first)) < 0.2] = np.nan
    expected = []
    for begin, end in pairwise(cuts):
        signs = [
            np.sign(first[i] - first[j]) * np.sign(second[i] - second[j])
            for i, j in combinations(range(begin, end), 2)
        ]
        both = [sign for sign in signs if not np.isnan(sign) and sign != 0]
        expected.append(sum(sign < 0 for sign in both) / len(both) if both else np.nan)
    np.testing.assert_array_equal(differing(first, second, cuts), expected)


def test_quarantine_is_listed_by_reason(five: Collection):
    answer = asked(five, list="quarantine")
    assert (answer["total"], counts(answer, "reason")) == (3, {"empty": 2, "no_prompt": 1})
    answer = asked(five, list="quarantine", filters={"reason": {"values": ["no_prompt"]}})
    (row,) = answer["rows"]
    assert row["detail"] == "rows.jsonl, row 2: no_prompt"
    assert json.loads(row["text"]) == {"question": "refused for no_prompt"}
    assert counts(answer, "reason") == {"empty": 2, "no_prompt": 1}


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"list": "pairs"}, "unknown list 'pairs'"),
        ({"filters": {"marign": {"min": 0}}}, "unknown filter 'marign'; did you mean 'margin'?"),
        ({"filters": {"margin": {"values": ["a"]}}}, "margin: is filtered by {min: number, max: number}"),
        ({"filters": {"margin": {"min": "2"}}}, "margin: is filtered by"),
        ({"filters": {"margin": {"min": True}}}, "margin: is filtered by"),
        ({"filters": {"margin": {}}}, "margin: is filtered by"),
        ({"filters": {"margin": 3}}, "margin: is filtered by"),
        ({"filters": {"model": {"min": 1}}}, "model: is filtered by {values: [...]}"),
        ({"filters": {"model": {"values": "a"}}}, "model: is filtered by"),
        ({"filters": {"model": ["a"]}}, "model: is filtered by"),
        ({"filters": ["model"]}, "filters must be an object, got ['model']"),
        ({"sort": {"by": "model"}}, "unknown sort 'model'"),
        ({"sort": "margin"}, "sort must be an object, got 'margin'"),
        ({"offset": -1}, "offset must be a number of rows, got -1"),
        ({"limit": "many"}, "limit must be a number of rows, got 'many'"),
        ({"text": 3}, "text must be a text, got 3"),
        ({"text": "a" * 1001}, "a search has at most 1,000 characters, got 1,001"),
        ({"disagree": {"first": "x", "second": "z"}}, "unknown score 'z'"),
        ({"disagree": {"first": "x"}}, "unknown score 'None'"),
    ],
)  # fmt: skip
def test_questions_that_cannot_be_answered_are_refused(
    five: Collection, request_: dict[str, Any], message: str
):
    with pytest.raises(RecipeError) as error:
        query(five, request_)
    assert message in str(error.value)


def test_few_whole_numbers_have_a_bin_each_and_others_equal_bins():
    every = np.ones(5, np.bool_)
    whole = Numbers("n", np.array([1.0, 1.0, 3.0, np.nan, 2.0])).counted(every)
    assert whole == {"edges": [0.5, 1.5, 2.5, 3.5], "counts": [2, 1, 1], "missing": 1}
    one = Numbers("n", np.array([0.25, 0.25])).counted(every[:2])
    assert one == {"edges": [-0.25, 0.75], "counts": [2], "missing": 0}
    values = np.append(np.linspace(0, 1, 999), 1e6)
    spread = Numbers("n", values).counted(np.ones(1000, np.bool_))
    # What is far out is in the last bin, and leaves the others their width.
    assert spread["edges"][-1] == 1e6
    assert spread["edges"][-2] < 1
    assert sum(spread["counts"]) == 1000
    assert max(spread["counts"]) < 60
    assert Numbers("n", np.full(2, np.nan)).counted(every[:2]) == {"edges": [], "counts": [], "missing": 2}
