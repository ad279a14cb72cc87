"""Ranks from the scores that a source brought along."""

from __future__ import annotations

import math

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from support.candidates import candidate_set, column, completion, noise, table, texts

from pairkit.rankers.annotations import rank
from pairkit.schema import SETS


def test_rank_is_one_more_than_the_number_of_strictly_better_ones():
    ranked = rank(
        table(candidate_set(*(completion(t, s) for t, s in zip("abcd", (2.0, 5.0, 5.0, 1.0), strict=True))))
    )
    assert texts(ranked) == [["b", "c", "a", "d"]]
    assert column(ranked, "rank") == [[1, 1, 3, 4]]
    assert column(ranked, "score") == [[5.0, 5.0, 2.0, 1.0]]
    assert ranked.schema == SETS


def test_ranks_of_the_source_stay_as_they_are():
    ranked = rank(
        table(candidate_set(completion("c", rank=7), completion("a", rank=1), completion("b", rank=3)))
    )
    assert texts(ranked) == [["a", "b", "c"]]
    assert column(ranked, "rank") == [[1, 3, 7]]


def test_a_source_rank_is_not_overruled_by_a_score():
    ranked = rank(table(candidate_set(completion("a", 1.0, rank=1), completion("b", 9.0, rank=2))))
    assert texts(ranked) == [["a", "b"]]


def test_unranked_follow_the_ranked_and_noise_is_last():
    ranked = rank(
        table(candidate_set(noise("n"), completion("u"), completion("b", 1.0), completion("a", 2.0)))
    )
    assert texts(ranked) == [["a", "b", "u", "n"]]
    assert column(ranked, "rank") == [[1, 2, None, None]]


def test_noise_with_a_score_is_neither_ranked_nor_in_the_way():
    scored = completion("n", 9.0, origin="noise")
    ranked = rank(table(candidate_set(scored, completion("a", 1.0))))
    assert texts(ranked) == [["a", "n"]]
    assert column(ranked, "rank") == [[1, None]]


def test_noise_is_last_even_where_its_source_ranked_it():
    ranked = rank(table(candidate_set(completion("n", rank=1, origin="noise"), completion("a", rank=2))))
    assert texts(ranked) == [["a", "n"]]


def test_equals_keep_their_order_in_large_tables_too():
    letters = "abcdefghij"
    tied = candidate_set(*(completion(letter, 1.0) for letter in letters))
    assert texts(rank(table(*[tied] * 500))) == [list(letters)] * 500


def test_a_score_that_is_not_a_number_gives_no_rank():
    ranked = rank(table(candidate_set(completion("a", math.nan), completion("b", 1.0))))
    assert texts(ranked) == [["b", "a"]]
    assert column(ranked, "rank") == [[1, None]]


def test_sets_without_completions_and_empty_tables_pass():
    sets = table(candidate_set(), candidate_set(completion("a", 1.0)), candidate_set())
    assert texts(rank(sets)) == [[], ["a"], []]
    assert rank(sets.slice(0, 0)).num_rows == 0


def test_everything_else_is_carried_along():
    extras = {
        "scores": [{"name": "help", "value": 1.5}],
        "sampling": {"temperature": 0.5, "top_p": 1.0, "seed": 3, "max_tokens": 9},
        "finish_reason": "stop",
        "metadata": '{"critique":"schön"}',
    }
    sets = table(candidate_set(completion("a", 1.0), completion("b", 2.0, **extras), metadata='{"k":1}'))
    (row,) = rank(sets).to_pylist()
    assert row["completions"][0] == completion("b", 2.0, rank=1, **extras)
    assert {name: row[name] for name in row if name != "completions"} == {
        name: value for name, value in sets.to_pylist()[0].items() if name != "completions"
    }


score_lists = st.lists(st.lists(st.none() | st.integers(0, 3).map(float), max_size=6), max_size=8)


@settings(max_examples=20)
@given(score_lists, st.integers(1, 3))
def test_ranking_is_by_definition_and_whatever_the_slices(score_lists: list[list[float | None]], size: int):
    sets = table(
        *(candidate_set(*(completion(str(i), s) for i, s in enumerate(scores))) for scores in score_lists)
    )
    ranked = rank(sets)
    for row in ranked["completions"].to_pylist():
        scores = [one["score"] for one in row if one["score"] is not None]
        for one in row:
            better = sum(other > one["score"] for other in scores) if one["score"] is not None else None
            assert one["rank"] == (None if better is None else better + 1)
        places = [(one["rank"] is None, one["rank"] or 0, int(one["text"])) for one in row]
        assert places == sorted(places)
    pieces = [rank(sets.slice(start, size)) for start in range(0, sets.num_rows, size)]
    assert pa.concat_tables([SETS.empty_table(), *pieces]).equals(ranked)
    assert rank(ranked).equals(ranked)
