"""The ranker `model_order` on sets of any authors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.tiny import candidate_sets, completion

from pairkit.errors import RecipeError
from pairkit.pipeline.ordering import add_scores, order
from pairkit.rankers.model_order import ModelOrderRecipe, rank_by_model
from pairkit.rankers.table import ModelOrderRank
from pairkit.recipes import validate

ORDER = ModelOrderRecipe(models=("gpt-4", "vicuna", "alpaca"))


def by(*models: str, **fields: Any) -> tuple[str, list[dict[str, Any]]]:
    return " ".join(models), [completion(f"text {n}", model=name, **fields) for n, name in enumerate(models)]


def test_the_score_is_the_number_of_weaker_models() -> None:
    (row,) = rank_by_model(candidate_sets([by("alpaca", "gpt-4", "vicuna", "gpt-4")]), ORDER).sets.to_pylist()
    assert [one["score"] for one in row["completions"]] == [0.0, 2.0, 1.0, 2.0]
    assert row["completions"][0]["scores"] == [{"name": "model_order", "value": 0.0}]


def test_sets_are_ordered_by_it_in_a_build() -> None:
    block = ModelOrderRank(models=ORDER.models)
    sets = candidate_sets([by("alpaca", "gpt-4", "vicuna", "gpt-4", rank=1, score=9.0)])
    (row,) = order(add_scores(sets, block=block).sets, by="model_order").sets.to_pylist()
    assert [(one["model"], one["rank"]) for one in row["completions"]] == [
        ("gpt-4", 1), ("gpt-4", 1), ("vicuna", 3), ("alpaca", 4)
    ]  # fmt: skip


def test_a_directory_is_an_author_by_its_path_and_a_name_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x" / "strong").mkdir(parents=True)
    (tmp_path / "weak").mkdir()
    monkeypatch.chdir(tmp_path)
    recipe = ModelOrderRecipe(models=(str(tmp_path / "x" / "strong"), "weak"))
    (row,) = rank_by_model(candidate_sets([by("weak", "x/strong")]), recipe).sets.to_pylist()
    assert [one["score"] for one in row["completions"]] == [0.0, 1.0]


def test_noise_has_no_score() -> None:
    prompt, ranked = by("gpt-4")
    noise = completion("noise", model="noise:token_swap", origin="noise")
    (row,) = rank_by_model(candidate_sets([(prompt, [*ranked, noise])]), ORDER).sets.to_pylist()
    assert [one["score"] for one in row["completions"]] == [2.0, None]


def test_a_set_with_another_author_is_in_quarantine() -> None:
    sets = candidate_sets([by("gpt-4", "alpaca"), by("gpt-4", "bard", "claude"), by("vicuna")])
    result = rank_by_model(sets, ORDER)
    assert result.sets.num_rows == 2
    (row,) = result.quarantine.to_pylist()
    assert row["reason"] == "unknown_model"
    assert row["detail"] == (
        "a completion is by 'bard', which rank.models does not name (gpt-4, vicuna, alpaca)"
    )
    assert row["set_id"] == sets["set_id"][1].as_py()
    assert result.counts == {"ordered_by_model": 3}


def test_no_sets_and_sets_without_completions() -> None:
    assert rank_by_model(candidate_sets([by("gpt-4")]).slice(0, 0), ORDER).sets.num_rows == 0
    assert rank_by_model(candidate_sets([("alone", [])]), ORDER).sets.num_rows == 1


@pytest.mark.parametrize("models", [["one"], [], ["a", "a"]])
def test_orders_without_an_order_are_refused(models: list[str]) -> None:
    with pytest.raises(RecipeError, match=r"models"):
        validate(ModelOrderRecipe, {"models": models})
