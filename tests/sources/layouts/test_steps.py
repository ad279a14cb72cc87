"""Steps of one answer are no alternative answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.brief_sets import brief_rows

from pairkit.errors import InputError

ROW: dict[str, Any] = {"prompt": "p", "completions": ["a", "b"], "labels": [True, False]}


def test_stepwise_supervision_is_refused_by_name(tmp_path: Path) -> None:
    rows = [ROW, ROW | {"completions": ["a", "b", "c"], "labels": [True, True, True]}]
    for options in ({}, {"layout": "sets"}, {"map": {"prompt": "prompt", "completions": "completions"}}):
        with pytest.raises(InputError, match=r"stepwise supervision.* not preference data; if .*labels"):
            brief_rows(tmp_path, *rows, **options)


def test_a_map_states_that_they_are_alternatives(tmp_path: Path) -> None:
    mapped = {"prompt": "prompt", "completions": "completions", "flags": "labels"}
    (row,) = brief_rows(tmp_path, ROW, map=mapped).sets
    assert [(each["text"], each["rank"]) for each in row["completions"]] == [("a", 1), ("b", 2)]


def test_scores_next_to_completions_are_no_steps(tmp_path: Path) -> None:
    (row,) = brief_rows(tmp_path, ROW | {"labels": None, "scores": [1, 0]}).sets
    assert [each["score"] for each in row["completions"]] == [1, 0]
