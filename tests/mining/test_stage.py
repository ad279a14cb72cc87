"""Mining: which completions stay in a set, which sets stay, and counts that add up."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.candidates import candidate_set, column, completion, noise, quarantined, table, texts

from pairkit.dataset.views import pairs
from pairkit.errors import RecipeError
from pairkit.mining import MineRecipe, draws, mine
from pairkit.rankers.annotations import rank
from pairkit.recipes import validate
from pairkit.schema import QUARANTINE, SETS, StageResult, canonical_json, check_sets


def scored(*scores: float | None, **fields: Any) -> dict[str, Any]:
    """A set of completions "a", "b", ... with these scores."""
    return candidate_set(*(completion(chr(97 + i), score) for i, score in enumerate(scores)), **fields)


def mined(*sets: dict[str, Any], seed: int = 0, **recipe: Any) -> StageResult:
    return mine(rank(table(*sets)), validate(MineRecipe, recipe), seed=seed)


def reasons(result: StageResult) -> list[str]:
    assert result.sets.num_rows == 0
    return result.quarantine["reason"].to_pylist()


def assert_counts_add_up(result: StageResult, sets: pa.Table) -> None:
    counts = result.counts
    completions_in = sum(map(len, sets["completions"].to_pylist()))
    assert (counts["sets_in"], counts["completions_in"]) == (sets.num_rows, completions_in)
    assert counts["sets_out"] == result.sets.num_rows
    assert counts["completions_out"] == sum(map(len, result.sets["completions"].to_pylist()))

    def total(prefix: str) -> int:
        return sum(number for name, number in counts.items() if name.startswith(prefix))

    completions_quarantined = counts["completions_quarantined"]
    rows = [json.loads(row) for row in result.quarantine["row"].to_pylist()]
    assert completions_quarantined == sum(len(row["completions"]) for row in rows)
    assert total("quarantined_") == result.quarantine.num_rows
    assert counts["sets_in"] == counts["sets_out"] + total("quarantined_")
    made = total("noise_") - counts["noise_impossible"] - counts["noise_on_tool_calls"]
    assert completions_in + made == counts["completions_out"] + completions_quarantined + total("dropped_")


# What goes whatever the recipe says


def test_identical_completions_leave_the_best_ranked_copy():
    copies = candidate_set(
        completion("x", 1.0), completion("y", 2.0), completion("x", 3.0), completion("x", 0.0)
    )
    result = mined(copies)
    assert texts(result.sets) == [["x", "y"]]
    assert column(result.sets, "score") == [[3.0, 2.0]]
    assert result.counts["dropped_identical"] == 2


CALLS = [f'[{{"type":"function","function":{{"name":"{name}","arguments":{{}}}}}}]' for name in "fg"]


def test_tool_calls_and_thoughts_make_completions_of_equal_texts_different():
    calling = candidate_set(
        completion("", 3.0, tool_calls=CALLS[0]),
        completion("", 2.0, tool_calls=CALLS[1]),
        completion("", 1.0, tool_calls=CALLS[0]),
        completion(" ", 0.0),
    )
    thinking = candidate_set(
        completion("x", 3.0, reasoning_content="a"),
        completion("x", 2.0, reasoning_content="b"),
        completion("x", 1.0),
        completion("", 0.0, reasoning_content="cut"),
    )
    result = mined(calling, thinking)
    assert column(result.sets, "score") == [[3.0, 2.0], [3.0, 2.0, 1.0, 0.0]]
    assert (result.counts["dropped_identical"], result.counts["dropped_empty"]) == (1, 1)
    assert_counts_add_up(result, table(calling, thinking))


def test_no_noise_is_made_of_a_tool_call_and_that_of_an_answer_keeps_its_thought():
    said = "Let me look it up"
    calling = candidate_set(completion(said, 2.0, tool_calls=CALLS[0]), completion("no", 1.0), prompt="a")
    thinking = candidate_set(
        completion("one two", 2.0, reasoning_content="Hm."), completion("x", 1.0), prompt="b"
    )
    rejected = candidate_set(
        completion("three four", 2.0), completion("", 1.0, tool_calls=CALLS[0]), prompt="c"
    )
    noise = {"word_swap": {"count": 1}, "truncate": {"count": 2}}
    result = mined(calling, thinking, rejected, noise=noise)
    origins = column(result.sets, "origin")
    assert [names.count("noise") for names in origins] == [0, 3, 3]
    assert result.counts["noise_on_tool_calls"] == 3
    assert column(result.sets, "reasoning_content")[1] == ["Hm.", None, "Hm.", "Hm.", "Hm."]
    assert column(result.sets, "tool_calls")[2] == [None, CALLS[0], None, None, None]
    assert_counts_add_up(result, table(calling, thinking, rejected))


def test_the_same_text_in_two_sets_is_not_a_copy():
    assert texts(mined(scored(1.0, 2.0), scored(1.0, 2.0)).sets) == [["b", "a"], ["b", "a"]]


@pytest.mark.parametrize("blank", ["", " ", "\n\t ", "\u00a0", "\u3000"])
def test_completions_without_a_visible_character_are_dropped(blank: str):
    result = mined(candidate_set(completion(blank, 9.0), completion("a", 2.0), completion("b", 1.0)))
    assert texts(result.sets) == [["a", "b"]]
    assert result.counts["dropped_empty"] == 1


# Sets that cannot be used


@pytest.mark.parametrize(
    ("unusable", "reason"),
    [
        (scored(1.0), "one_completion"),
        (candidate_set(completion("a")), "one_completion"),
        (candidate_set(completion("a", 1.0), completion("", 0.0)), "one_completion"),
        (candidate_set(completion("a", 1.0), completion("a", 2.0)), "all_identical"),
        (candidate_set(completion("a"), completion("a"), completion(" ")), "all_identical"),
        (candidate_set(completion(" ")), "no_completion"),
        (candidate_set(completion(""), completion("")), "no_completion"),
        (scored(2.0, 2.0, 2.0), "no_choice"),
        (scored(2.0, None), "no_choice"),
    ],
)
def test_a_set_without_a_choice_is_quarantined(unusable: dict[str, Any], reason: str):
    result = mined(unusable)
    assert reasons(result) == [reason]
    assert result.counts[f"quarantined_{reason}"] == 1
    assert_counts_add_up(result, table(unusable))


def test_ties_are_no_choice_however_few_negatives_are_kept():
    result = mined(scored(2.0, 2.0, 2.0), scored(1.0), keep_negatives=1)
    assert reasons(result) == ["no_choice", "one_completion"]


def test_a_quarantined_row_is_the_whole_set_with_its_id_and_an_explanation():
    sets = rank(table(candidate_set(completion("é", 1.0), completion("", 2.0))))
    result = mine(sets, MineRecipe(), seed=0)
    (row,) = result.quarantine.to_pylist()
    assert result.quarantine.schema == QUARANTINE
    assert (row["stage"], row["set_id"]) == ("mine", sets["set_id"][0].as_py())
    assert row["row"] == canonical_json(quarantined(sets))
    assert row["detail"] == "at least two completions are needed (1 of 2 completions left; dropped: 1 empty)"


def test_unranked_sets_pass():
    result = mined(candidate_set(), candidate_set(completion("a"), completion("b")), keep_negatives=1)
    assert texts(result.sets) == [[], ["a", "b"]]
    assert result.counts["sets_unranked"] == 2


def test_demonstrations_pass_where_no_choice_is_required():
    result = mined(scored(1.0), scored(2.0, 2.0), candidate_set(completion(" ")), require_choice=False)
    assert texts(result.sets) == [["a"], ["a", "b"]]
    assert result.quarantine["reason"].to_pylist() == ["no_completion"]


def test_existing_noise_counts_as_below_the_ranked():
    result = mined(candidate_set(completion("a", 1.0), noise("n")))
    assert texts(result.sets) == [["a", "n"]]


# Policies


def nectar_set() -> dict[str, Any]:
    return candidate_set(*(completion(f"r{place}", rank=place) for place in (3, 1, 2, 5, 4, 7, 6)))


@pytest.mark.parametrize(
    ("dropped", "negatives"),
    [([2], 5), ([2, 3], 4), ([2, 3, 4, 5, 6], 1)],
)
def test_the_nectar_sets_of_mcpo_are_made_by_either_policy(dropped: list[int], negatives: int):
    by_rank = mined(nectar_set(), drop_ranks=dropped)
    by_number = mined(nectar_set(), keep_negatives=negatives)
    assert by_rank.sets.equals(by_number.sets)
    assert texts(by_rank.sets) == [["r1", *(f"r{place}" for place in range(8 - negatives, 8))]]
    assert by_rank.counts["dropped_rank"] == by_number.counts["dropped_negatives"] == len(dropped)


def test_dropped_ranks_leave_the_other_ranks_as_they_were():
    assert column(mined(nectar_set(), drop_ranks=[1, 2]).sets, "rank") == [[3, 4, 5, 6, 7]]


def test_too_few_negatives_are_all_kept():
    assert texts(mined(scored(3.0, 2.0, 1.0), keep_negatives=9).sets) == [["a", "b", "c"]]


def test_keeping_negatives_drops_ties_with_the_chosen_and_unranked_ones_but_no_noise():
    full = candidate_set(
        *(completion(t, s) for t, s in zip("abcde", (5.0, 5.0, 4.0, 1.0, None), strict=True)), noise("n")
    )
    result = mined(full, keep_negatives=1)
    assert texts(result.sets) == [["a", "d", "n"]]
    assert result.counts["dropped_negatives"] == 3


def test_between_equal_negatives_the_seed_decides():
    sets = [scored(5.0, 1.0, 1.0, 1.0, prompt=f"p{i}") for i in range(300)]
    result = mined(*sets, keep_negatives=1)
    kept = Counter(negative for _, negative in texts(result.sets))
    assert set(kept) == {"b", "c", "d"}
    assert min(kept.values()) > 60  # 100 each are expected, with a standard deviation of 8
    assert result.sets.equals(mined(*sets, keep_negatives=1).sets)
    assert not result.sets.equals(mined(*sets, keep_negatives=1, seed=1).sets)


def test_between_equal_negatives_the_one_with_the_smallest_random_number_stays():
    """Datasets are built again from their recipes: another rule would make another dataset of each."""
    sets = table(*(scored(5.0, 1.0, 1.0, 1.0, prompt=f"p{i}") for i in range(20)))
    keys = draws.keys(0, "keep_negatives", sets["set_id"].to_pylist())
    smallest = draws.draw(keys[:, None], np.arange(1, 4)).argmin(axis=1)
    result = mine(rank(sets), MineRecipe(keep_negatives=1), seed=0)
    assert [negative for _, negative in texts(result.sets)] == ["bcd"[place] for place in smallest]


def test_what_is_too_close_to_the_chosen_is_dropped():
    result = mined(scored(5.0, 5.0, 4.5, 4.0, 1.0), min_margin=1.0)
    assert texts(result.sets) == [["a", "d", "e"]]
    assert result.counts["dropped_margin"] == 2


def test_a_margin_asked_of_ranks_without_scores_is_explained():
    result = mined(nectar_set(), min_margin=1.0)
    assert reasons(result) == ["no_score"]
    assert "min_margin needs the score" in result.quarantine["detail"][0].as_py()


def test_policies_together_follow_each_other():
    result = mined(scored(9.0, 8.5, 5.0, 4.0, 3.0), drop_ranks=[3], min_margin=1.0, keep_negatives=1)
    assert texts(result.sets) == [["a", "e"]]
    dropped = {why: result.counts[f"dropped_{why}"] for why in ("rank", "margin", "negatives")}
    assert dropped == {"rank": 1, "margin": 1, "negatives": 1}


def test_how_pairs_are_read_off_does_not_change_the_sets():
    ways = [mined(nectar_set(), rejected=way).sets for way in ("worst", "random", "all", "policy")]
    assert all(sets.equals(ways[0]) for sets in ways)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"keep_negative": 3}, "unknown recipe key 'keep_negative'; did you mean 'keep_negatives'?"),
        ({"noise": {"token_swap": {"tokenizer": "t", "swap": 1}}}, "did you mean 'noise.token_swap.swaps'?"),
        ({"noise": {"token_swap": {}}}, "recipe key 'noise.token_swap.tokenizer' is required"),
        (
            {"rejected": "best"},
            "recipe key 'rejected': Input should be 'worst', 'quantile', 'random', 'all' or 'policy'",
        ),
        ({"drop_ranks": [0]}, "recipe key 'drop_ranks.0': Input should be greater than 0"),
        ({"keep_negatives": 0}, "recipe key 'keep_negatives'"),
        ({"min_margin": -1}, "recipe key 'min_margin'"),
        ({"noise": {"label_flip": {"rate": 1.5}}}, "recipe key 'noise.label_flip.rate'"),
    ],
)
def test_an_impossible_recipe_is_refused(recipe: dict[str, Any], message: str):
    with pytest.raises(RecipeError) as caught:
        validate(MineRecipe, recipe)
    assert message in str(caught.value)


def test_real_pairs_are_kept_or_refused_as_by_plain_python(real_data: Path):
    with gzip.open(real_data / "ultrafeedback_binarized_trl_flat.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    expected: Counter[str | None] = Counter()
    sets = []
    for row in rows:
        replies = [(row[side], row["metadata"][f"score_{side}"]) for side in ("chosen", "rejected")]
        visible = [reply for reply in replies if reply[0].strip()]
        if len(visible) == 2 and visible[0][0] == visible[1][0]:
            expected["all_identical"] += 1
        elif len(visible) < 2:
            expected["one_completion"] += 1
        elif visible[0][1] == visible[1][1]:
            expected["no_choice"] += 1
        else:
            expected[None] += 1
        sets.append(candidate_set(*(completion(*reply) for reply in replies), prompt=row["prompt"]))
    result = mined(*sets)
    assert result.sets.num_rows == expected.pop(None) > 600
    assert Counter(result.quarantine["reason"].to_pylist()) == expected
    assert expected["no_choice"] > 50
    assert_counts_add_up(result, table(*sets))
    assert pairs(result.sets).num_rows == result.sets.num_rows


# Whatever the sets


completions = st.builds(
    completion,
    st.sampled_from(["", " ", "a", "b c", "b c d", "c b", "d e f g", "é ü", "e e"]),
    st.none() | st.integers(0, 3).map(float),
)
set_lists = st.lists(
    st.lists(completions | st.builds(noise, st.sampled_from(["n", "c b"])), max_size=6).map(
        lambda ones: candidate_set(*ones)
    ),
    max_size=7,
)
recipes = st.fixed_dictionaries(
    {},
    optional={
        "drop_ranks": st.sampled_from([[2], [1, 3]]),
        "keep_negatives": st.integers(1, 3),
        "min_margin": st.sampled_from([0.5, 1.5]),
        "require_choice": st.booleans(),
        "noise": st.fixed_dictionaries(
            {},
            optional={
                "word_swap": st.fixed_dictionaries(
                    {}, optional={"swaps": st.integers(1, 3), "count": st.just(2)}
                ),
                "truncate": st.just({"count": 2}),
                "label_flip": st.just({"rate": 0.5}),
            },
        ),
    },
)


@pytest.mark.parametrize("examples", [25, pytest.param(80, marks=pytest.mark.full)])
def test_mining_any_sets(examples: int) -> None:
    drawn = given(set_lists, recipes, st.integers(0, 3), st.integers(1, 4))
    settings(max_examples=examples)(drawn(check_mining))()


def check_mining(rows: list[dict[str, Any]], recipe: dict[str, Any], seed: int, size: int) -> None:
    sets, checked = rank(table(*rows)), validate(MineRecipe, recipe)
    whole = mine(sets, checked, seed=seed)
    whole.sets.validate(full=True)
    check_sets(whole.sets)
    assert_counts_add_up(whole, sets)

    # The slices that the rows come in make no difference, and nor does doing it twice.
    parts = [mine(sets.slice(start, size), checked, seed=seed) for start in range(0, sets.num_rows, size)]
    assert pa.concat_tables([SETS.empty_table(), *(part.sets for part in parts)]).equals(whole.sets)
    assert pa.concat_tables([QUARANTINE.empty_table(), *(part.quarantine for part in parts)]).equals(
        whole.quarantine
    )
    summed = Counter(dict.fromkeys(whole.counts, 0))
    for part in parts:
        summed.update(part.counts)
    assert summed == whole.counts
    assert mine(sets, checked, seed=seed).sets.equals(whole.sets)

    before = dict(zip(sets["set_id"].to_pylist(), texts(sets), strict=True))
    for set_id, row in zip(
        whole.sets["set_id"].to_pylist(), whole.sets["completions"].to_pylist(), strict=True
    ):
        kept = [one["text"] for one in row]
        assert len(set(kept)) == len(kept)
        assert all(text.strip() for text in kept)
        made = [one for one in row if one["text"] not in before[set_id]]
        assert all(one["origin"] == "noise" and one["rank"] is one["score"] is None for one in made)
        order = [(one["origin"] == "noise", one["rank"] is None, one["rank"] or 0) for one in row]
        assert order == sorted(order)


@settings(max_examples=20)
@given(set_lists, st.sampled_from(["worst", "random", "all"]))
def test_a_tie_never_makes_a_pair(rows: list[dict[str, Any]], rejected: Any):
    for pair in pairs(mined(*rows, require_choice=False).sets, rejected=rejected).to_pylist():
        if pair["score_rejected"] is not None:
            assert pair["score_chosen"] > pair["score_rejected"]
        assert pair["chosen"] != pair["rejected"]
