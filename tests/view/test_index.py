"""The numbers of sets: margins, best and worst scores, spreads, models, with ties, nulls and noise."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.candidates import candidate_set, completion, table
from support.sets_to_view import FIVE, asked, scores, write_dataset

from pairkit.dataset import reader, views
from pairkit.schema import SETS_1
from pairkit.view.collection import Collection, about, opened
from pairkit.view.facets import Numbers
from pairkit.view.index import UNIT, chosen_and_lowest
from pairkit.view.one_set import one_set


def numbers(collection: Collection, name: str) -> list[float | None]:
    facet = collection.index.listing.facets[name]
    assert isinstance(facet, Numbers)
    return [None if math.isnan(number) else float(number) for number in facet.numbers]


def test_numbers_of_each_set_are_those_of_its_completions(five: Collection):
    # Sets to train on come first: the one here has noise, which has no score.
    assert numbers(five, "completions") == [3, 3, 2, 1, 2]
    assert numbers(five, "margin") == [2.0, 7.0, None, None, None]
    assert numbers(five, "best") == [0.5, 9.0, 5.0, 1.0, None]
    assert numbers(five, "worst") == [-1.5, 2.0, 5.0, 1.0, None]
    assert numbers(five, "spread:x") == [1.0, 2.0, None, None, None]
    assert numbers(five, "spread:y") == [1.0, 1.0, None, None, None]
    assert five.index.chosen.tolist() == [0, 0, 0, 0, -1]
    assert five.index.names == ["x", "y"]


def test_what_is_there_first_is_described(five: Collection):
    first = about(five)
    assert (first["title"], first["kind"], first["sets"], first["quarantined"]) == ("five", "dataset", 5, 3)
    assert first["splits"] == [{"name": "test", "sets": 4}, {"name": "train", "sets": 1}]
    assert first["scores"] == ["score", "rank", "x", "y"]
    assert (first["problems"], first["run"]) == ([], None)
    kinds = {facet["name"]: facet["kind"] for facet in first["facets"]}
    assert kinds["model"] == "values"
    assert kinds["margin"] == kinds["length:prompt"] == "number"
    assert "segment" not in kinds
    assert "verdict" not in kinds
    assert {sort["name"] for sort in first["sorts"]} == {name for name in kinds if kinds[name] == "number"}


def test_margins_are_those_of_the_pairs_of_a_build(built_folder: Path):
    # Of a dataset without noise the pair of the best and the worst completion is that of `rejected: worst`.
    data = reader.load(built_folder)
    expected = []
    for split in ("train", "test"):
        for sets in data.tables(split):
            pairs = views.pairs(sets, rejected="worst").to_pydict()
            expected += [
                chosen - rejected
                for chosen, rejected in zip(pairs["score_chosen"], pairs["score_rejected"], strict=True)
            ]
    with opened(built_folder) as collection:
        assert numbers(collection, "margin") == pytest.approx(expected)
        assert collection.index.listing.size == len(expected)


def test_sets_are_numbered_through_all_files_and_row_groups(built_folder: Path):
    data = reader.load(built_folder)
    ids = [
        name
        for split in ("train", "test")
        for sets in data.tables(split)
        for name in sets["set_id"].to_pylist()
    ]
    with opened(built_folder) as collection:
        assert [collection.row_of(name) for name in ids] == list(range(len(ids)))
        answer = asked(collection, limit=500)
        assert [row["set_id"] for row in answer["rows"]] == ids


def test_completions_out_of_order_have_the_same_numbers(tmp_path: Path):
    mixed = table(
        candidate_set(
            completion("last", -2.0, rank=3),
            completion("unranked", 100.0),
            completion("first", 7.0, rank=1),
            completion("as good", 6.0, rank=1),
            completion("also last", -3.0, rank=3),
        )
    )
    with opened(write_dataset(tmp_path / "d", {"train": mixed})) as collection:
        assert collection.index.chosen.tolist() == [2]
        assert numbers(collection, "margin") == [10.0]


def test_numbers_that_are_not_finite_are_missing(tmp_path: Path):
    odd = table(
        candidate_set(
            completion("a", math.inf, rank=1, scores=scores(x=math.nan)),
            completion("b", math.nan, rank=2, scores=scores(x=1.0)),
        )
    )
    with opened(write_dataset(tmp_path / "d", {"train": odd})) as collection:
        assert numbers(collection, "margin") == numbers(collection, "best") == [None]
        assert numbers(collection, "spread:x") == [0.0]
        asked(collection)  # is JSON


def test_sets_without_completions_are_counted(tmp_path: Path):
    alone = table(
        candidate_set(prompt="One"), candidate_set(completion("a", 1.0, rank=1)), candidate_set(prompt="Two")
    )
    with opened(write_dataset(tmp_path / "d", {"train": alone})) as collection:
        assert numbers(collection, "completions") == [0, 1, 0]
        assert asked(collection)["total"] == 3


@pytest.mark.parametrize("files", [{"train": FIVE.slice(0, 0)}, {}], ids=["empty-file", "no-file"])
def test_a_dataset_without_sets_is_shown(tmp_path: Path, files: dict[str, pa.Table]):
    with opened(write_dataset(tmp_path / "d", files)) as collection:
        answer = asked(collection, text="anything", filters={"best": {"min": 0}})
        assert (answer["total"], answer["rows"], about(collection)["sets"]) == (0, [], 0)
        assert asked(collection, list="quarantine")["total"] == 0


def test_a_dataset_of_version_1_has_all_but_what_it_lacks(tmp_path: Path):
    def narrow(rows: Any, kind: pa.DataType) -> Any:
        if pa.types.is_list(kind):
            return [narrow(row, kind.value_type) for row in rows]
        if pa.types.is_struct(kind):
            return rows and {field.name: narrow(rows[field.name], field.type) for field in kind}
        return rows

    old = pa.Table.from_pylist(
        [{field.name: narrow(row[field.name], field.type) for field in SETS_1} for row in FIVE.to_pylist()],
        SETS_1,
    )
    folder = write_dataset(tmp_path / "d", {})
    (folder / "data").mkdir()
    pq.write_table(old, folder / "data" / "train-00000-of-00001.parquet")
    with opened(folder) as collection:
        assert numbers(collection, "margin") == [7.0, None, None, None, 2.0]
        assert asked(collection, text="capital brief")["total"] == 1


def test_a_file_that_another_library_has_written_again_is_read_as_before(tmp_path: Path):
    folder = write_dataset(tmp_path / "d", {"train": FIVE})
    path = folder / "data" / "train-00000-of-00001.parquet"
    pl.read_parquet(path).write_parquet(path)
    with opened(folder) as collection:
        assert collection.problems == []
        assert numbers(collection, "margin") == [7.0, None, None, None, 2.0]
        assert numbers(collection, "spread:x") == [2.0, None, None, None, 1.0]
        assert next(row["models"] for row in asked(collection)["rows"]) == ["a", "b"]
        assert asked(collection, text="lyon capital")["total"] == 1
        assert collection.row_of(FIVE["set_id"][3].as_py()) == 3
        assert one_set(collection, 0)["completions"][1]["scores"] == {"x": 1.0, "y": 2.0}


@pytest.mark.parametrize("name", ["item", "element"])
def test_the_items_of_lists_may_have_another_name(tmp_path: Path, name: str):
    folder = write_dataset(tmp_path / "d", {"train": FIVE})
    path = folder / "data" / "train-00000-of-00001.parquet"
    pq.write_table(FIVE, path, use_compliant_nested_type=name == "element")
    with opened(folder) as collection:
        assert any(f".list.{name}." in leaf for leaf in collection.found.shards[0].leaves.values())
        assert numbers(collection, "margin") == [7.0, None, None, None, 2.0]
        assert asked(collection, text="lyon capital")["total"] == 1


def test_many_sets_are_reduced_in_parts(tmp_path: Path):
    count = UNIT + 10
    one = FIVE.slice(0, 1).to_pylist()[0]
    rows = pa.Table.from_pylist([one], FIVE.schema).take(pa.array(np.zeros(count, np.int64)))
    with opened(write_dataset(tmp_path / "d", {"train": rows}, row_group=5000)) as collection:
        assert numbers(collection, "margin") == [7.0] * count
        assert asked(collection, limit=1)["facets"]["model"]["values"] == [["a", count], ["b", count]]


@pytest.mark.parametrize("row_group", [1, 2])
def test_row_groups_have_other_models_and_names_of_scores(tmp_path: Path, row_group: int):
    def described(collection: Collection) -> Any:
        facets = asked(collection)["facets"]
        spreads = [numbers(collection, name) for name in ("spread:x", "spread:y", "margin")]
        return [facets[name] for name in ("model", "origin", "finish_reason", "source")], spreads

    with (
        opened(write_dataset(tmp_path / "whole", {"train": FIVE})) as whole,
        opened(write_dataset(tmp_path / "divided", {"train": FIVE}, row_group=row_group)) as divided,
    ):
        assert divided.index.listing.shards[0].groups > 2
        assert described(divided) == described(whole)
        assert (divided.index.keys == whole.index.keys).all()


def test_no_completion_is_chosen_of_sets_without_ranks():
    rank = np.array([np.nan, 2.0, 1.0, 1.0, 1.0])
    chosen, lowest = chosen_and_lowest(rank, ~np.isnan(rank), np.array([0, 1, 3, 3, 5]))
    assert (chosen.tolist(), lowest.tolist()) == ([-1, 2, -1, 3], [-1, 1, -1, -1])
