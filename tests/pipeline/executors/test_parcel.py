"""What travels between processes: tables come back as they were, and only with the rows that they show."""

from __future__ import annotations

import pyarrow as pa
from support.tiny import random_sets

from pairkit.errors import BudgetError, InputError
from pairkit.pipeline.executors.ray.parcel import ROW, Parcel, pack, row, unpack
from pairkit.pipeline.model_stages import Item
from pairkit.pipeline.recipe import load
from pairkit.pipeline.stages import finish
from pairkit.pipeline.unit import Unit
from pairkit.schema import StageResult, quarantine_rows


def unit(sets: pa.Table) -> Unit:
    quarantine = quarantine_rows("source", sets.slice(0, 1), ["wrong"], ["a detail"])
    result = StageResult(sets.slice(1), quarantine, counts={"source.rows": sets.num_rows})
    return Unit(result, sets["prompt_id"])


def test_a_unit_comes_back_as_it_was() -> None:
    sets = random_sets(12)
    parcel = Parcel(Item(7, unit(sets)), usage={"one": {"requests": 3}}, said=("warning: so",))
    found = unpack(pack(parcel))
    assert found == parcel
    assert found.item.unit.prompt_ids.equals(sets["prompt_id"])


def test_a_finished_unit_comes_back_as_it_was() -> None:
    recipe = load(None, {"source": {"name": "arithmetic"}, "test_fraction": 0.5}, {})
    finished = finish(unit(random_sets(12)), recipe)
    found = unpack(pack(finished))
    assert found.tables == finished.tables
    assert found.unit.result == finished.unit.result
    assert (found.bytes, found.histograms.keys()) == (finished.bytes, finished.histograms.keys())


def test_a_slice_brings_its_own_rows_only() -> None:
    sets = random_sets(2000)
    assert len(pack(sets.slice(5, 10))) < len(pack(sets)) / 50


def test_a_result_that_is_there_twice_travels_once() -> None:
    result = StageResult(random_sets(500))
    assert len(pack((result, result))) < 1.01 * len(pack(result))


def test_errors_keep_their_class_and_message() -> None:
    for error in (InputError("a.jsonl: row 3"), BudgetError("spent")):
        found = unpack(pack(error))
        assert (type(found), str(found)) == (type(error), str(error))


def test_a_block_is_one_row_with_or_without_its_content() -> None:
    parcel = Parcel(Item(3, unit(random_sets(3))))
    both = pa.concat_tables([row(3, parcel), row(4)])
    assert both.schema == ROW
    assert both["number"].to_pylist() == [3, 4]
    assert unpack(both["parcel"][0].as_buffer()) == parcel
    assert both["parcel"][1].as_py() is None
