"""Duplicates of several sources: raw scores are compared within a source, and merged within one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from support.candidates import candidate_set, completion, table

from pairkit.pipeline.build import build
from pairkit.pipeline.prepass.columns import Columns
from pairkit.pipeline.recipe import BuildRecipe, load

# Of 1 to 5, with margins from 1 to 3, and of 1 to 100, with margins from 20 to 40.
STARS = {"a": (5, 4), "b": (5, 3), "c": (5, 2)}
PERCENT = {"a": (90, 50), "b": (80, 60), "c": (70, 40)}


def written(path: Path, scores: dict[str, tuple[float, ...]], *more: dict[str, Any]) -> Path:
    rows = [
        {
            "prompt": prompt,
            "completions": [f"{path.stem} {prompt} {n}" for n in range(len(each))],
            "scores": each,
        }
        for prompt, each in scores.items()
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in (*rows, *more)))
    return path


@pytest.fixture
def two(tmp_path: Path) -> list[dict[str, Any]]:
    return [
        {"name": name, "source": {"name": "files", "path": str(written(tmp_path / f"{name}.jsonl", scores))}}
        for name, scores in (("stars", STARS), ("percent", PERCENT))
    ]


def recipe(sources: Any, **dedup: Any) -> BuildRecipe:
    content = {"sources": sources, "test_fraction": 0.0, "unit_rows": 2}
    return load(None, content, {"dedup": {"threshold": None, **dedup}})


def sets(out: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in sorted((out / "data").glob("*.parquet"))])


def kept(out: Path) -> dict[str, str]:
    return {row["prompt"][0]["content"]: row["source"] for row in sets(out).to_dicts()}


def test_a_margin_counts_by_its_place_in_its_source(two: list[dict[str, Any]], tmp_path: Path) -> None:
    build(recipe(two, keep="best_margin"), tmp_path / "out")
    # By raw margins all three would be those of percent.
    assert kept(tmp_path / "out") == {"a": "percent", "b": "stars", "c": "stars"}


def test_a_margin_of_one_source_is_its_own() -> None:
    rows = [candidate_set(completion("x", 5.0), completion("y", low)) for low in (4.0, 1.0, 2.0, 1.0)]
    columns = Columns()
    columns.add(table(*rows), np.zeros(4, np.bool_))
    columns.finish()
    assert columns.preferred(np.arange(4), "best_margin").tolist() == [1, 3, 2, 0]


def test_equal_margins_have_one_place_and_sets_without_one_are_last() -> None:
    def scored(source: str, *scores: float | None) -> dict[str, Any]:
        return candidate_set(*(completion(f"{n}", each) for n, each in enumerate(scores)), source=source)

    rows = [scored("a", 9.0, 1.0), scored("b", 5.0, 4.0), scored("b", None, None), scored("b", 5.0, 4.0)]
    rows += [scored("a", 9.0, 8.0), scored("b", 5.0, 4.5)]
    columns = Columns()
    for row in rows:  # numbered over several tables
        columns.add(table(row), np.zeros(1, np.bool_))
    columns.finish()
    assert columns.preferred(np.arange(6), "best_margin").tolist() == [0, 1, 3, 4, 5, 2]


def test_scores_of_two_sources_are_not_merged(two: list[dict[str, Any]], tmp_path: Path) -> None:
    manifest = build(recipe(two, exact="merge"), tmp_path / "out")
    assert manifest["counts"]["prepass"] == {"merged": 0}
    assert sets(tmp_path / "out").height == 6
    assert not pq.read_table(tmp_path / "out" / "quarantine.parquet").num_rows


def test_sets_of_one_source_are_merged_next_to_those_of_another(tmp_path: Path) -> None:
    again = {"prompt": "a", "completions": ["third"], "scores": [4.5]}
    stars = written(tmp_path / "stars.jsonl", STARS, again)
    percent = written(tmp_path / "percent.jsonl", PERCENT)
    sources = [{"name": p.stem, "source": {"name": "files", "path": str(p)}} for p in (percent, stars)]
    manifest = build(recipe(sources, exact="merge"), tmp_path / "out")
    assert manifest["counts"]["prepass"] == {"merged": 1}
    scores = {
        row["source"]: [each["score"] for each in row["completions"]]
        for row in sets(tmp_path / "out").to_dicts()
        if row["prompt"][0]["content"] == "a"
    }
    assert scores == {"percent": [90.0, 50.0], "stars": [5.0, 4.5, 4.0]}


def test_a_ranker_makes_one_scale_of_all_sources(two: list[dict[str, Any]], tmp_path: Path) -> None:
    check = {"ranker": "verifier", "check": "support.verifiers:length"}
    made = recipe(two, exact="merge").model_dump(exclude_unset=True) | {"rank": check}
    manifest = build(load(None, made, {}), tmp_path / "out")
    assert manifest["counts"]["prepass"] == {"merged": 3}
    assert all(len(row["completions"]) == 4 for row in sets(tmp_path / "out").to_dicts())


def test_scored_and_unscored_sets_stay_apart_and_each_kind_is_merged(tmp_path: Path) -> None:
    """Else some completions of a set would have scores and others none, and only the first be ranked."""
    scored = [
        {"prompt": "Q", "completions": ["a", "b"], "scores": [2, 1]},
        {"prompt": "Q", "completions": ["c"], "scores": [3]},
    ]
    bare = [{"prompt": "Q", "completions": ["d"]}, {"prompt": "Q", "completions": ["e"]}]
    ranked = [{"prompt": "Q", "completions": ["f", "g"], "ranks": [1, 2]}] * 2
    empty = [{"prompt": "Q", "completions": []}]
    path = tmp_path / "rows.jsonl"
    rows = [empty[0], scored[0], bare[0], ranked[0], scored[1], bare[1], ranked[1]]
    path.write_text("".join(json.dumps({"scores": None, "ranks": None} | row) + "\n" for row in rows))
    content = {"source": {"name": "files", "path": str(path)}, "test_fraction": 0.0}
    made = load(
        None, content | {"mine": {"require_choice": False}}, {"dedup": {"exact": "merge", "threshold": None}}
    )
    manifest = build(made, tmp_path / "out")
    texts = [[each["text"] for each in row["completions"]] for row in sets(tmp_path / "out").to_dicts()]
    # The set without completions is the first, and is given those of the first other one.
    assert texts == [["c", "a", "b"], ["d", "e"], ["f", "g"], ["f", "g"]]
    assert manifest["counts"]["prepass"] == {"merged": 3}
