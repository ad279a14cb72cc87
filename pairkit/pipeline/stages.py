"""The stages of a build, fused: from the raw rows of a unit to the rows that are written.

    source -> identify -> (generate, models that rank) -> rank -> mine -> split, pairs

Each is a function from a table to a table. Identification counts how often a prompt occurred before and
so runs in the order of the units, as does whatever asks a model (asked.py), which is there once for all; the
rest of a unit depends on nothing but the unit, in any order and in any thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from pairkit.dataset import histograms, views
from pairkit.mining import mine
from pairkit.pipeline.ordering import rank
from pairkit.pipeline.recipe import BuildRecipe
from pairkit.pipeline.unit import Done, Unit
from pairkit.schema import identify, quarantine_counts
from pairkit.sources import Converted

SPLITS = ("train", "test")


def identified(batches: Iterable[Converted], seen: dict[str, int]) -> Iterator[Unit]:
    """The source's batches with ids; `seen` counts the occurrences of each prompt so far."""
    for sets, quarantine, rows in batches:
        counts = {"source.rows": rows, "source.rows_quarantined": quarantine.num_rows}
        counts |= quarantine_counts("source", quarantine)
        named = identify(sets, seen)
        yield Unit(named, quarantine, rows, named["prompt_id"], counts)


def finish(unit: Unit, recipe: BuildRecipe) -> Done:
    """Ranks and mines a unit, splits it and derives its pairs."""
    ranked = rank(unit.sets, recipe)
    mined = mine(ranked.sets, recipe.mine, seed=recipe.seed)
    tables = {"verdicts/all": unit.verdicts}
    counted = histograms.of_sets(mined.sets)
    for split, sets in split_by_prompt(mined.sets, recipe.test_fraction).items():
        pairs = views.pairs(sets, chosen=recipe.mine.chosen, rejected=recipe.mine.rejected, seed=recipe.seed)
        tables |= {f"data/{split}": sets, f"pairs/{split}": pairs}
        histograms.add(counted, histograms.of_pairs(pairs))
    counts = {
        **unit.counts,
        **{f"rank.{name}": number for name, number in ranked.counts.items()},
        **quarantine_counts("rank", ranked.quarantine),
        **{f"mine.{name}": number for name, number in mined.counts.items()},
        **_sizes(tables),
    }
    quarantine = pa.concat_tables([unit.quarantine, ranked.quarantine, mined.quarantine])
    size = text_bytes(mined.sets)
    return Done(tables, quarantine, unit.prompt_ids, unit.rows, size, counts, counted, unit.shown)


def split_by_prompt(sets: pa.Table, test_fraction: float) -> dict[str, pa.Table]:
    """The sets of each split. A prompt's id, read as a fraction of 2**64, decides: never its neighbours."""
    if test_fraction == 0:
        return {"train": sets}
    bound = f"{int(test_fraction * 2**64):016x}"  # ids are 16 hex digits: they sort as numbers do
    in_test = pc.less(sets["prompt_id"], bound)
    return {"train": sets.filter(pc.invert(in_test)), "test": sets.filter(in_test)}


def text_bytes(table: pa.Table) -> int:
    """The bytes of all texts in a table: its size, whatever its layout in memory."""
    return sum(_column_bytes(column) for column in table.columns)


def _column_bytes(column: pa.ChunkedArray) -> int:
    if pa.types.is_list(column.type):
        return _column_bytes(pc.list_flatten(column))
    if pa.types.is_struct(column.type):
        return sum(_column_bytes(pc.struct_field(column, field.name)) for field in column.type)
    if pa.types.is_string(column.type):
        return pc.sum(pc.binary_length(column), min_count=0).as_py()  # type: ignore[no-any-return]
    return 0


def _sizes(tables: dict[str, pa.Table]) -> dict[str, int]:
    sizes = {}
    for name, table in tables.items():
        kind, split = name.split("/")
        if kind == "verdicts":
            continue
        sizes[f"{split}.{'sets' if kind == 'data' else 'pairs'}"] = table.num_rows
        if kind == "data":
            sizes[f"{split}.completions"] = pc.sum(
                pc.list_value_length(table["completions"]), min_count=0
            ).as_py()
    return sizes
