"""The prompts of an online training: all distinct ones of the source, and those of each segment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pairkit.dataset.layout import QUARANTINE_FILE
from pairkit.dataset.parquet import open_writer
from pairkit.engines.columns import drop_completions
from pairkit.errors import InputError
from pairkit.files import replacing, sha256, undamaged, write_json
from pairkit.online.plan import Counts, Part
from pairkit.online.recipe import OnlineRecipe
from pairkit.pipeline.stages import identified, split_by_prompt
from pairkit.progress import progress
from pairkit.schema import QUARANTINE, SETS, StageResult
from pairkit.sources import Opened
from pairkit.training.output.layout import HASHES
from pairkit.training.output.saved import check_saved

PROMPTS = "prompts.parquet"
_FILES = (PROMPTS, QUARANTINE_FILE)
_AGAIN = "use --on-existing delete to start over"


def distinct(recipe: OnlineRecipe, opened: Opened) -> Iterator[StageResult]:
    """Yield the sets of the source whose prompt has not come before, and the rows that cannot be used.

    Sets keep their completions where the recipe adds those of the policy to them.
    """
    earlier: set[str] = set()
    rows = recipe.build.unit_rows
    with progress("reading prompts", opened.total_rows, unit="rows") as advance:
        for unit in identified(opened.batches(rows=rows), {}):
            result = unit.result
            new = []
            for prompt in result.sets["prompt_id"].to_pylist():
                new.append(prompt not in earlier)
                earlier.add(prompt)
            sets = result.sets.filter(pa.array(new, pa.bool_()))
            yield StageResult(
                sets if recipe.generate.keep_source else drop_completions(sets),
                result.quarantine,
                counts=result.counts,
            )
            advance(result.counts["source.rows"])


def count(recipe: OnlineRecipe, opened: Opened) -> Counts:
    """Count the distinct prompts without keeping any. Raises `InputError` if there is none."""
    total = Counts(0, 0, 0, 0)
    for result in distinct(recipe, opened):
        total = _add(total, result, recipe.build.test_fraction)
    return _some(total, opened)


def ensure(recipe: OnlineRecipe, opened: Opened, out: Path) -> None:
    """Write the distinct prompts and the rows that cannot be used to `out`, or find that they are as written.

    Raises `InputError` if no row can be used, or if one of the files is another one.
    """
    # What is missing is written again: the source has the content with which the training began.
    if not all((out / name).exists() for name in (*_FILES, HASHES)):
        write(recipe, opened, out)
    check_saved(out, _AGAIN)


def write(recipe: OnlineRecipe, opened: Opened, out: Path) -> None:
    """Write them, each whole or not at all, and their hashes. Raises `InputError` if no row can be used."""
    total = Counts(0, 0, 0, 0)
    with (
        replacing(out / PROMPTS) as temporary,
        replacing(out / QUARANTINE_FILE) as unusable,
        open_writer(temporary, SETS) as writer,
        open_writer(unusable, QUARANTINE) as quarantine,
    ):
        for result in distinct(recipe, opened):
            writer.write_table(result.sets)
            quarantine.write_table(result.quarantine)
            total = _add(total, result, recipe.build.test_fraction)
        _some(total, opened)
    write_json(out / HASHES, {name: sha256(out / name) for name in _FILES})


def counts(recipe: OnlineRecipe, out: Path) -> Counts:
    """Count the prompts that `ensure` has written."""
    with undamaged(out / PROMPTS, _AGAIN):
        ids = pq.read_table(out / PROMPTS, columns=["prompt_id"])
        refusals = pq.read_metadata(out / QUARANTINE_FILE).num_rows
    train = split_by_prompt(ids, recipe.build.test_fraction)["train"].num_rows
    return Counts(ids.num_rows, train, ids.num_rows + refusals, refusals)


def write_part(recipe: OnlineRecipe, out: Path, part: Part, target: Path) -> None:
    """Write the prompts of a segment to the file `target`."""
    with undamaged(out / PROMPTS, _AGAIN):
        every = pq.read_table(out / PROMPTS, schema=SETS)
    rows = positions(every.num_rows, recipe.seed, part.begin, part.prompts)
    with replacing(target) as temporary, open_writer(temporary, SETS) as writer:
        writer.write_table(every.take(pa.array(rows)))


def positions(prompts: int, seed: int, begin: int, number: int) -> npt.NDArray[np.int64]:
    """Return which prompts are at the places `begin` and following of the order of all segments.

    The order is one permutation of all prompts after another, so that none comes again before all have come.
    """
    first, last = begin // prompts, (begin + number - 1) // prompts
    passes = [np.random.default_rng([seed, each]).permutation(prompts) for each in range(first, last + 1)]
    start = begin - first * prompts
    return np.concatenate(passes)[start : start + number]


def _add(total: Counts, result: StageResult, test_fraction: float) -> Counts:
    train = split_by_prompt(result.sets, test_fraction)["train"].num_rows
    kept = pc.max(pc.list_value_length(result.sets["completions"])).as_py() or 0
    return Counts(
        total.prompts + result.sets.num_rows,
        total.train + train,
        total.rows + result.counts["source.rows"],
        total.refused + result.quarantine.num_rows,
        max(total.kept, kept),
    )


def _some(total: Counts, opened: Opened) -> Counts:
    if total.train:
        return total
    where = opened.files[0] if len(opened.files) == 1 else opened.source.name
    held_out = (
        f", and {total.prompts:,} prompts are all held out (build.test_fraction)" if total.prompts else ""
    )
    raise InputError(
        f"{where}: no prompt to train on in {total.rows:,} rows ({total.refused:,} cannot be used{held_out})"
        "; `pairkit inspect` shows how the rows are read"
    )
