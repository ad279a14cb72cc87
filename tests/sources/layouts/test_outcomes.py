"""Strengths, preferences, orders, ranks and scores of compared completions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.layouts import read_rows

from pairkit.errors import InputError

CONTEXT = [{"role": "user", "content": "q"}]


def helpsteer3(strength: Any) -> dict[str, Any]:
    return {"context": CONTEXT, "response1": "x", "response2": "y", "overall_preference": strength}


def test_a_signed_strength_is_kept_as_the_margin(tmp_path: Path) -> None:
    found = read_rows(tmp_path, [helpsteer3(strength) for strength in (-3, -1, 0, 2)])
    assert found.layout == "helpsteer3"
    assert found.brief("score") == [[(3.0,), (0.0,)], [(1.0,), (0.0,)], [(0.0,), (0.0,)], [(0.0,), (2.0,)]]
    # As written, for whoever needs the sign.
    assert found.sets[0]["metadata"] == '{"overall_preference":-3}'


def test_a_strength_that_is_no_number_is_refused(tmp_path: Path) -> None:
    found = read_rows(tmp_path, [helpsteer3("1"), helpsteer3("much")])
    assert found.brief("score") == [[(0.0,), (1.0,)]]
    assert [reason for reason, _ in found.refused] == ["invalid_score"]


def test_a_strength_next_to_a_winner_is_the_winners(tmp_path: Path) -> None:
    row = {"prompt": "q", "response_a": "x", "response_b": "y", "preference_strength": 2}
    found = read_rows(
        tmp_path, [{**row, "winner": winner} for winner in ("A", "B", "tie")], layout="compared"
    )
    assert found.brief("rank", "score") == [
        [(1, 2.0), (2, 0.0)],
        [(2, 0.0), (1, 2.0)],
        [(1, 0.0), (1, 0.0)],
    ]


def test_a_strength_compares_two(tmp_path: Path) -> None:
    rows = [{"prompt": "q", "completions": ["x", "y", "z"], "s": 1}]
    found = read_rows(tmp_path, rows, prompt="prompt", completions="completions", strength="s")
    assert [reason for reason, _ in found.refused] == ["length_mismatch"]


def alpaca_eval(preference: Any) -> dict[str, Any]:
    outputs = {"output_1": "x", "generator_1": "m", "output_2": "y", "generator_2": "n"}
    return {"instruction": "q", **outputs, "annotator": "j", "preference": preference}


def test_a_preference_from_1_to_2_is_two_shares_of_the_win(tmp_path: Path) -> None:
    found = read_rows(tmp_path, [alpaca_eval(value) for value in (1, 2.0, 1.25, 1.5, 0, None)])
    assert found.layout == "alpaca_eval"
    ties = [(0.5,), (0.5,)]
    assert found.brief("score") == [
        [(1.0,), (0.0,)],
        [(0.0,), (1.0,)],
        [(0.75,), (0.25,)],
        ties,
        ties,
        [(None,), (None,)],
    ]


@pytest.mark.parametrize("values", [(0, 1), (-1, 2), (1, 3), (0, 0)])
def test_numbers_that_are_no_preferences_are_refused(tmp_path: Path, values: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=r"preference goes from .*--map winner=preference"):
        read_rows(tmp_path, [alpaca_eval(value) for value in values])


def test_a_map_replaces_what_a_layout_states_about_the_outcome(tmp_path: Path) -> None:
    found = read_rows(tmp_path, [alpaca_eval(value) for value in (-1, 2)], strength="preference")
    assert found.brief("rank", "score") == [[(None, 1.0), (None, 0.0)], [(None, 0.0), (None, 2.0)]]
    row = {"prompt": "q", "response_0": "x", "response_1": "y", "better_response_id": 0}
    found = read_rows(tmp_path, [{**row, "safer_response_id": 1}], winner="safer_response_id")
    assert found.layout == "pku_saferlhf"
    assert found.brief("rank") == [[(2,), (1,)]]
    assert found.sets[0]["metadata"] == '{"better_response_id":0,"safer_response_id":1}'


def test_what_numbers_mean_holds_for_the_layouts_own_winner(tmp_path: Path) -> None:
    row = {"history": "q", "human_ref_A": "x", "human_ref_B": "y", "score_A": 3, "score_B": 3}
    rows = [{**row, "labels": 0, "place": 1}, {**row, "labels": 0, "place": 0}]
    assert read_rows(tmp_path, rows).brief("rank") == [[(2,), (1,)]] * 2
    assert read_rows(tmp_path, rows, winner="place").brief("rank") == [[(2,), (1,)], [(1,), (2,)]]


def test_an_order_is_ranks(tmp_path: Path) -> None:
    row = {"instruction": "q", "input": "", "output": ["x", "y", "z"]}
    assert read_rows(tmp_path, [row]).brief("rank") == [[(None,)] * 3]
    assert read_rows(tmp_path, [row], rank_by_order=True).brief("rank") == [[(1,), (2,), (3,)]]
    found = read_rows(tmp_path, [{**row, "history": []}, {**row, "output": ["x"], "history": None}])
    assert found.brief("rank") == [[(1,), (2,), (3,)], [(1,)]]
    assert read_rows(tmp_path, [{**row, "history": []}], rank_by_order=False).brief("rank") == [[(None,)] * 3]


def test_two_outputs_in_every_row_may_be_ranked_or_not(tmp_path: Path) -> None:
    rows = [{"instruction": "q", "input": "", "output": ["x", "y"]}] * 3
    with pytest.raises(
        InputError, match=r"output holds two texts in every row; give --map rank_by_order=true"
    ):
        read_rows(tmp_path, rows, block=1)
    assert read_rows(tmp_path, rows, rank_by_order=True).brief("rank") == [[(1,), (2,)]] * 3
    assert read_rows(tmp_path, rows, rank_by_order=False).brief("rank") == [[(None,), (None,)]] * 3
    three = [*rows, {"instruction": "q", "input": "", "output": ["x", "y", "z"]}]
    assert read_rows(tmp_path, three).brief("rank")[0] == [(None,), (None,)]


def test_ranks_that_begin_at_0_are_counted_from_1(tmp_path: Path) -> None:
    rows = [
        {"prompt": "q", "completions": ["x", "y"], "ranks": ranks} for ranks in ([1, 0], [2, 1], [0, None])
    ]
    assert read_rows(tmp_path, rows).brief("rank") == [[(2,), (1,)], [(2,), (1,)], [(1,), (None,)]]
    found = read_rows(tmp_path, [{"prompt": "q", "completions": ["x", "y"], "ranks": [-1, 0]}])
    assert [reason for reason, _ in found.refused] == ["invalid_rank"]


def test_a_truth_of_a_completion_is_its_score(tmp_path: Path) -> None:
    row = {
        "prompt": "q",
        "responses": [{"text": "x", "is_correct": True}, {"text": "y", "is_correct": False}],
    }
    assert read_rows(tmp_path, [row]).brief("score") == [[(1.0,), (0.0,)]]


def test_one_text_is_the_model_of_all_completions(tmp_path: Path) -> None:
    row = {"instruction": "q", "generations": ["x", "y"], "ratings": [1, 2], "generation_model": "m"}
    assert read_rows(tmp_path, [row]).brief("model") == [[("m",), ("m",)]]


def test_scores_of_columns_go_with_their_completions(tmp_path: Path) -> None:
    row = {"prompt": "q", "response_1": "x", "response_2": "y", "response_3": "z"}
    scores = {"score_1": 1, "score_2": "2.5", "score_3": None}
    rows = [{**row, **scores}, {**row, **scores, "score_3": 4}]
    assert read_rows(tmp_path, rows).brief("score") == [[(1.0,), (2.5,), (None,)], [(1.0,), (2.5,), (4.0,)]]
    del scores["score_3"]
    assert [reason for reason, _ in read_rows(tmp_path, [{**row, **scores}]).refused] == ["length_mismatch"]


RANKED = {"prompt": "q", "responses": ["x", "y", "z"]}


@pytest.mark.parametrize("ranking", [[1, 2, 0], [2, 3, 1]])
def test_a_ranking_that_may_be_an_order_is_refused(tmp_path: Path, ranking: list[int]) -> None:
    row = {**RANKED, "ranking": ranking}
    with pytest.raises(InputError, match=r"ranking holds \[.*--map ranks=ranking or --map order=ranking"):
        # The first row says the same in both readings.
        read_rows(tmp_path, [{**row, "ranking": sorted(ranking)}, row], block=1)
    assert read_rows(tmp_path, [row], ranks="ranking").brief("rank") == [[(2,), (3,), (1,)]]
    assert read_rows(tmp_path, [row], order="ranking").brief("rank") == [[(3,), (1,), (2,)]]


def test_rankings_that_say_the_same_in_both_readings_are_ranks(tmp_path: Path) -> None:
    rows = [{**RANKED, "ranking": ranking} for ranking in ([1, 0, 2], [0, 1, 2], None)]
    assert read_rows(tmp_path, rows).brief("rank") == [[(2,), (1,), (3,)], [(1,), (2,), (3,)], [(None,)] * 3]
    # An order has no ties, so that all lists of the file are ranks.
    rows = [{**RANKED, "ranking": ranking} for ranking in ([1, 2, 0], [1, 1, 0])]
    assert read_rows(tmp_path, rows).brief("rank") == [[(2,), (3,), (1,)], [(2,), (2,), (1,)]]
    assert read_rows(tmp_path, [{**RANKED, "ranks": [1, 2, 0]}]).brief("rank") == [[(2,), (3,), (1,)]]


@pytest.mark.parametrize("order", [[0, 0, 1], [1, 2, 4], [2, 3, 4], [0, 1], [0, None, 1], [-1, 0, 1]])
def test_an_order_names_every_completion_once(tmp_path: Path, order: list[int]) -> None:
    rows = [{**RANKED, "best_first": each} for each in (order, [2, 0, 1], None)]
    found = read_rows(tmp_path, rows, prompt="prompt", completions="responses", order="best_first")
    assert [reason for reason, _ in found.refused] == [
        "length_mismatch" if len(order) < 3 else "invalid_rank"
    ]
    assert found.brief("rank") == [[(2,), (3,), (1,)], [(None,)] * 3]


@pytest.mark.parametrize("more", [{}, {"history": []}])
def test_scores_come_before_the_order_of_outputs(tmp_path: Path, more: dict[str, Any]) -> None:
    row = {"instruction": "q", "input": "", "output": ["x", "y", "z"], "scores": [1, 5, 3], **more}
    assert read_rows(tmp_path, [row]).brief("rank", "score") == [[(None, 1.0), (None, 5.0), (None, 3.0)]]
    two = {**row, "output": ["x", "y"], "scores": [1, 5]}
    assert read_rows(tmp_path, [two]).brief("rank", "score") == [[(None, 1.0), (None, 5.0)]]
