"""Builds with several rankers: every score is kept under its name, one of them orders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from support.pairrm_model import save
from support.published import hashes
from support.raw import ultrafeedback

from pairkit.errors import ExistingOutputError, RecipeError
from pairkit.pipeline.build import build
from pairkit.pipeline.recipe import BuildRecipe, load
from pairkit.schema import check_sets


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("models") / "pairrm", "PairRM-hf")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ultrafeedback(tmp_path_factory.mktemp("raw") / "ultrafeedback.jsonl", 6)


def recipe(source: Path, **fields: Any) -> BuildRecipe:
    content = {"source": {"name": "ultrafeedback", "path": str(source)}, "test_fraction": 0, "unit_rows": 3}
    return load(None, content, {"mine": {"require_choice": False}, **fields})


def rows(out: Path) -> list[dict[str, Any]]:
    table = ds.dataset(sorted((out / "data").glob("*.parquet"))).to_table()
    check_sets(table)
    return table.sort_by("set_id").to_pylist()


def named(completion: dict[str, Any]) -> dict[str, float]:
    return {one["name"]: one["value"] for one in completion["scores"]}


def test_one_ranker_orders_and_all_scores_stay(source: Path, model: Path, tmp_path: Path) -> None:
    blocks = [
        {"ranker": "annotations"},
        {"ranker": "pairrm", "model": str(model)},
        {"ranker": "pairrm", "model": str(model), "pairs": "bubble", "name": "bubble"},
    ]
    by_source, by_pairrm, by_bubble = tmp_path / "source", tmp_path / "pairrm", tmp_path / "bubble"
    build(recipe(source, rank=blocks), by_source)
    build(recipe(source, rank=blocks, order="pairrm"), by_pairrm)
    build(recipe(source, rank=blocks, order="bubble"), by_bubble)
    build(recipe(source), tmp_path / "plain")
    changed = 0
    for plain, a, b, c in zip(*map(rows, (tmp_path / "plain", by_source, by_pairrm, by_bubble)), strict=True):
        own = [(one["text"], one["rank"], one["score"]) for one in plain["completions"]]
        assert [(one["text"], one["rank"], one["score"]) for one in a["completions"]] == own
        scores = {one["text"]: named(one) for one in a["completions"]}
        assert all({"pairrm", "bubble"} < set(one) for one in scores.values())
        for row, name in ((b, "pairrm"), (c, "bubble")):
            completions = row["completions"]
            assert {one["text"]: named(one) for one in completions} == scores
            assert [one["score"] for one in completions] == [named(one)[name] for one in completions]
            better = [sum(other["score"] > one["score"] for other in completions) for one in completions]
            assert [one["rank"] for one in completions] == [1 + count for count in better]
            assert [one["rank"] for one in completions] == sorted(one["rank"] for one in completions)
        changed += [one["text"] for one in a["completions"]] != [one["text"] for one in b["completions"]]
    assert changed > 2


@pytest.mark.full
def test_a_stopped_build_scores_nothing_twice(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pairkit.rankers.pairrm.ranker import PairRMRanker

    source = ultrafeedback(tmp_path / "ultrafeedback.jsonl", 8)  # four units
    ranked = recipe(source, rank={"ranker": "pairrm", "model": str(model)}, unit_rows=2)
    build(ranked, tmp_path / "whole")
    real, scored = PairRMRanker.score, []

    def score(self: PairRMRanker, sets: pa.Table, advance: Any) -> Any:
        if len(scored) == 2:
            scored.append(None)
            raise KeyboardInterrupt
        scored.append(sets.num_rows)
        return real(self, sets, advance)

    monkeypatch.setattr(PairRMRanker, "score", score)
    with pytest.raises(Exception, match="model answers for 2 more units; run the same command again"):
        build(ranked, tmp_path / "out")
    build(ranked, tmp_path / "out")
    assert len(scored) == 5  # two units, the interrupt, and the two units that were left
    assert hashes(tmp_path / "out") == hashes(tmp_path / "whole")


def test_a_ranker_with_other_weights_is_another_build(source: Path, tmp_path: Path) -> None:
    model = save(tmp_path / "pairrm", "PairRM-hf")
    block = {"ranker": "pairrm", "model": str(model)}
    manifest = build(recipe(source, rank=block), tmp_path / "out")
    assert manifest["recipe"]["rank"]["model"] == f"{tmp_path.name}/pairrm"
    assert str(tmp_path) not in json.dumps(manifest)
    with (model / "config.json").open("a") as file:
        file.write(" ")
    with pytest.raises(ExistingOutputError, match="the model of pairrm has other files"):
        build(recipe(source, rank=block), tmp_path / "out")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rank": [{"ranker": "pairrm"}, {"ranker": "pairrm"}]}, "pairrm occurs twice: give each a name"),
        ({"rank": []}, "names no ranker"),
        ({"order": "pairrm"}, "'pairrm' is not one of the rankers: annotations"),
        ({"rank": {"ranker": "pairmr"}}, "pairmr"),
        ({"rank": {"ranker": "judge", "model": "m", "aspects": ["x"]}}, "'aspects' does not apply"),
    ],
)
def test_contradictory_rankings_are_refused(source: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe(source, **fields)
