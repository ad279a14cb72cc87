"""The stages of a build, from the raw rows of a unit to the rows that are written.

    source -> identify -> prepass -> (generate, models that rank) -> rankers, order -> filter -> mine
           -> split, pairs

A stage is a function from a table of sets to a `StageResult`. It pickles: its settings are bound by
`functools.partial`, and a stage that asks a model is opened in the worker that runs it. Identification
counts how often a prompt occurred before, so it runs in the order of the units, as do the stages that ask a
model (model_stages.py), because the model exists once; the others depend on nothing but the unit and run in
any order and thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pairkit.dataset import extras, histograms, views
from pairkit.mining import mine
from pairkit.mining.filters import filter_sets
from pairkit.mining.filters.stage import blocks
from pairkit.pipeline.ordering import add_scores, order
from pairkit.pipeline.recipe import BuildRecipe
from pairkit.pipeline.unit import FinishedUnit, Unit
from pairkit.rankers.panel.stage import add_panel
from pairkit.rankers.table import RANKERS
from pairkit.schema import UNIDENTIFIED, Occurrences, StageResult, identify


class Stage(NamedTuple):
    """A stage that asks no model: `name` is that of its counts and of its rows in quarantine."""

    name: str
    run: Callable[[pa.Table], StageResult]


def stages(recipe: BuildRecipe) -> list[Stage]:
    """Return the stages that ask no model, in order."""
    computing = [block for block in recipe.rankings if RANKERS[block.ranker].compute is not None]
    # None without filters, because a manifest would have an empty count for it.
    filters = bool(blocks(recipe.filter, before=False))
    return [
        *(Stage("rank", partial(add_scores, block=block)) for block in computing),
        *([Stage("rank", partial(add_panel, names=recipe.panel))] if recipe.panel else []),
        Stage("rank", partial(order, by=recipe.orders_by, otherwise=recipe.otherwise_by)),
        *([Stage("filter", partial(filter_sets, recipe=recipe.filter))] if filters else []),
        Stage("mine", partial(mine, recipe=recipe.mine, seed=recipe.seed, panel=recipe.panel or ())),
    ]


def identified(batches: Iterable[StageResult], occurrences: dict[str, int] | Occurrences) -> Iterator[Unit]:
    """Yield the source's batches with ids; `occurrences` counts how often each prompt came so far."""
    for batch in batches:
        # Through `then`, which puts the name of the stage before that of each count.
        result = StageResult(UNIDENTIFIED.empty_table()).then("source", batch)
        sets = identify(batch.sets, occurrences)
        yield Unit(StageResult(sets, result.quarantine, counts=result.counts), sets["prompt_id"])


def screened(units: Iterable[Unit], screen: Callable[[pa.Table], StageResult] | None) -> Iterator[Unit]:
    """Yield units without the sets that the prepass takes out; `prompt_ids` stay those of all."""
    for unit in units:
        yield (
            unit
            if screen is None
            else unit._replace(result=unit.result.then("prepass", screen(unit.result.sets)))
        )


def finish(unit: Unit, recipe: BuildRecipe) -> FinishedUnit:
    """Rank and mine a unit, split it and derive its pairs."""
    result = unit.result
    for stage in stages(recipe):
        result = result.then(stage.name, stage.run(result.sets))
    # In one file for both splits each, because they are about a judge and the samples, not about training.
    tables = {"verdicts/all": result.verdicts, "dropped/all": result.dropped}
    totals = histograms.of_sets(result.sets)
    for split, sets in split_by_prompt(result.sets, recipe.test_fraction).items():
        pairs = views.full_pairs(
            sets, chosen=recipe.mine.chosen, rejected=recipe.mine.rejected, seed=recipe.seed
        )
        extra_counts = extras.count(sets.to_batches())
        # Of this unit; the files of all units get one schema in the end (pair_files.py).
        published = views.published(pairs, chat=any(extra_counts.values()))
        tables |= {f"data/{split}": sets, f"pairs/{split}": published}
        histograms.add(totals, histograms.of_pairs(pairs))
        # Only for the counts, which go under the name of the split; the sets are those of before.
        result = result.then(split, StageResult(result.sets, counts=_sizes(sets, pairs, extra_counts)))
    return FinishedUnit(unit._replace(result=result), tables, totals, text_bytes(result.sets))


def split_by_prompt(sets: pa.Table, test_fraction: float) -> dict[str, pa.Table]:
    """Return the sets of each split.

    A prompt's id alone decides, read as a fraction of 2**64, so that a prompt is in the same split of every
    dataset.
    """
    if test_fraction == 0:
        return {"train": sets}
    bound = f"{int(test_fraction * 2**64):016x}"  # ids are 16 hex digits, so they sort as numbers do
    in_test = pc.less(sets["prompt_id"], bound)
    return {"train": sets.filter(pc.invert(in_test)), "test": sets.filter(in_test)}


def text_bytes(table: pa.Table) -> int:
    """Return the bytes of all texts in a table: its size, whatever its layout in memory."""
    # Not `nbytes`, which depends on how Arrow happens to have cut and shared its buffers.
    return sum(_column_bytes(column) for column in table.columns)


def _column_bytes(column: pa.ChunkedArray) -> int:
    if pa.types.is_list(column.type):
        return _column_bytes(pc.list_flatten(column))
    if pa.types.is_struct(column.type):
        return sum(_column_bytes(pc.struct_field(column, field.name)) for field in column.type)
    if pa.types.is_string(column.type):
        return pc.sum(pc.binary_length(column), min_count=0).as_py()  # type: ignore[no-any-return]
    return 0


def _sizes(sets: pa.Table, pairs: pa.Table, extra_counts: Mapping[str, int]) -> dict[str, int]:
    # Only what there is, so that the manifests of plain chats have the counts that they always had.
    extra = {f"sets_with_{name}": number for name, number in extra_counts.items() if number}
    lengths = pc.list_value_length(sets["completions"])
    completions = pc.sum(lengths, min_count=0).as_py()
    alone = pc.sum(pc.equal(lengths, 0), min_count=0).as_py()
    extra |= {"sets_without_completions": alone} if alone else {}
    return {"sets": sets.num_rows, "completions": completions, "pairs": pairs.num_rows, **extra}
