"""Scores next to a label or an order: which one counts, and that neither is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.layouts import read_rows

PAIR = {"prompt": "q", "chosen": "good", "rejected": "bad"}


@pytest.mark.parametrize("noun", ["score", "reward", "rating"])
def test_a_chosen_reply_with_the_lower_score_is_refused(tmp_path: Path, noun: str) -> None:
    rows: list[dict[str, Any]] = [
        {**PAIR, f"{noun}_chosen": chosen, f"{noun}_rejected": rejected}
        for chosen, rejected in ((1, 5), (3, 3), (5, 1))
    ]
    found = read_rows(tmp_path, rows)
    assert found.brief("score") == [[(3.0,), (3.0,)], [(5.0,), (1.0,)]]
    ((reason, detail),) = found.refused
    assert reason == "contradicting_scores"
    assert f"row 1, field '{noun}_chosen': is below that of the rejected reply" in detail
    # As the detail says: the label alone.
    found = read_rows(tmp_path, rows, prompt="prompt", chosen="chosen", rejected="rejected")
    assert found.brief("text", "rank", "score") == [[("good", 1, None), ("bad", 2, None)]] * 3


def test_the_score_of_one_side_is_kept(tmp_path: Path) -> None:
    rows = [{**PAIR, "score_chosen": 5, "score_rejected": low} for low in (None, 1)]
    found = read_rows(tmp_path, rows)
    assert found.brief("rank", "score", "scores") == [
        [(1, None, [{"name": "score", "value": 5.0}]), (2, None, [])],
        [(None, 5.0, []), (None, 1.0, [])],
    ]


def test_a_score_next_to_a_label_is_kept(tmp_path: Path) -> None:
    rows = [{"prompt": "q", "completion": "x", "label": label, "score": 0.2} for label in (True, None)]
    found = read_rows(tmp_path, rows)
    assert found.brief("score", "scores") == [[(1.0, [{"name": "score", "value": 0.2}])], [(0.2, [])]]


def test_a_row_without_fine_grained_scores_has_its_overall_ones(tmp_path: Path) -> None:
    def row(prompt: str, *scores: dict[str, float]) -> dict[str, Any]:
        rated = [
            {"response": f"r{place}", "annotations": {"a": 1}, **each} for place, each in enumerate(scores)
        ]
        return {"instruction": prompt, "completions": rated}

    rows = [
        row("q", {"overall_score": 2}, {"overall_score": 9}),
        row(
            "q2", {"overall_score": 2, "fine-grained_score": 1}, {"overall_score": 9, "fine-grained_score": 4}
        ),
        row("q3", {"overall_score": 2}, {"overall_score": 9, "fine-grained_score": 4}),
    ]
    found = read_rows(tmp_path, rows)
    assert found.layout == "ultrafeedback"
    assert found.brief("score") == [[(2.0,), (9.0,)], [(1.0,), (4.0,)], [(None,), (4.0,)]]


def test_a_winner_with_the_lower_score_is_refused(tmp_path: Path) -> None:
    row = {"prompt": "q", "response_a": "x", "response_b": "y", "winner": "a"}
    scores = [(1, 5), (5, 1), (3, 3), (None, 5)]
    rows = [{**row, "score_a": first, "score_b": second} for first, second in scores]
    found = read_rows(tmp_path, [*rows, {**rows[0], "winner": "tie"}])
    assert [reason for reason, _ in found.refused] == ["contradicting_scores"]
    assert "row 1, field 'score_a+score_b'" in found.refused[0][1]
    assert found.brief("rank") == [[(1,), (2,)]] * 3 + [[(1,), (1,)]]
    mapped = {"prompt": "prompt", "completions": "response_a+response_b", "winner": "winner"}
    assert read_rows(tmp_path, rows, **mapped).brief("rank") == [[(1,), (2,)]] * 4
