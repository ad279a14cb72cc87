"""A build from its recipe to a published data set, started anew or continued."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from pairkit.engines.cache import Cache
from pairkit.engines.pool import EnginePool
from pairkit.errors import ExistingOutputError, InputError, Interrupted, OutputError, PairkitError
from pairkit.files import OnExisting, stoppable
from pairkit.mining.policies import NO_CHOICE
from pairkit.pipeline import describe, directory, model_stages, shards, unit_store
from pairkit.pipeline.directory import Store
from pairkit.pipeline.identity import identify_build
from pairkit.pipeline.publish import publish
from pairkit.pipeline.recipe import BuildRecipe
from pairkit.pipeline.shards import Contents, ShardWriter
from pairkit.pipeline.stages import finish, identified
from pairkit.pipeline.threads import ahead, mapped
from pairkit.pipeline.unit import Done
from pairkit.progress import Advance, console, progress
from pairkit.sources import Opened, open_source

# Where calls are kept unless another file is named: beside the data sets, one for all of a folder.
CACHE = "calls.sqlite"


def build(
    recipe: BuildRecipe,
    out: Path,
    *,
    on_existing: OnExisting = "resume",
    workers: int | None = None,
    cache: Path | None = None,
    retry_failed: bool = False,
) -> dict[str, Any]:
    """Builds the data set of `recipe` in the directory `out` and returns its manifest.

    A build that stopped, for whatever reason, continues behind its last closed shard; the rows, their order
    and the bytes of every published file are those of a build that never stopped, whatever the number of
    `workers` (units worked on at a time; None: one a CPU core, four at most).

    What engines answer is kept in the file `cache` (None: calls.sqlite beside `out`) and not asked for again
    by any build that is given the file. With `retry_failed`, requests that have failed are; the data set is
    then built anew.

    Raises `InputError` for input that cannot be read or holds no usable set, `ExistingOutputError` where
    `out` holds something else, `OutputError` where it cannot be written to, `Interrupted` after SIGINT,
    `ModelError`, `EngineError`, `BudgetError` and `MissingExtraError` where a model cannot be asked.
    """
    opened = open_source(recipe.source)
    identity = identify_build(recipe, opened)
    if retry_failed:  # sets that are in quarantine already come from the source again, answers from the cache
        on_existing = "delete"
    again = f"{out}: stopped; the same command continues"
    with stoppable(out, lambda: again), directory.claimed(out, identity, on_existing) as claimed:
        if claimed is None:
            return _complete(out)
        with _stopping(claimed):
            with _engine_pool(recipe, cache or out.parent / CACHE, retry_failed=retry_failed) as pool:
                total = _write_shards(claimed, recipe, opened, workers or default_workers(), pool)
            if total.counts["mine.sets_out"] == 0:
                raise _nothing_usable(opened, total, claimed)
            manifest = publish(claimed, identity, opened)
        claimed.finish()
        return manifest


@contextmanager
def _engine_pool(recipe: BuildRecipe, cache: Path, *, retry_failed: bool) -> Iterator[EnginePool]:
    """What models are asked with; engines and the cache are closed at the end."""
    engines = recipe.generate is not None or any(hasattr(block, "engine") for block in recipe.rankings)
    with ExitStack() as opened:
        found = Cache(cache, retry_failed=retry_failed) if engines else None
        if found is not None:
            opened.callback(found.close)
        yield EnginePool(recipe.calls, found, opened)


def default_workers() -> int:
    """One a CPU core that this process may use, four at most: the writer is then the bottleneck."""
    return min(4, len(os.sched_getaffinity(0)))


def _write_shards(
    out: Store, recipe: BuildRecipe, opened: Opened, workers: int, pool: EnginePool
) -> Contents:
    """Runs the units that are not in a closed shard yet; returns what all shards hold together."""
    folders = out.shards()
    total = shards.together(shards.read_contents(folder) for folder in folders)
    if total.last:
        return total
    rows = total.counts["source.rows"]
    out.log(event="continue" if folders else "start", time=time.time(), rows=rows)
    batches = opened.batches(start=total.next_unit, rows=recipe.unit_rows)
    read = ahead(identified(batches, shards.occurrences(folders)), workers)
    with (
        progress(f"Building {out.out}", opened.total_rows, unit="rows", done=rows) as advance,
        closing(read),
        closing(model_stages.asked(read, recipe, out.asked_folder, total.next_unit, pool, advance)) as units,
        closing(mapped(lambda unit: finish(unit, recipe), units, workers)) as finished,
        ThreadPoolExecutor(2, thread_name_prefix="write") as threads,
    ):
        for contents in _shards(out, recipe, finished, len(folders), total.next_unit, threads, advance):
            total.last = contents.last
            total.add(contents.counts, contents.histograms)
            unit_store.forget(out.asked_folder, contents.next_unit)
            out.log(event="shard", time=time.time(), rows=total.counts["source.rows"], **pool.usage())
    return total


def _shards(
    out: Store,
    recipe: BuildRecipe,
    units: Iterator[Done],
    number: int,
    next_unit: int,
    threads: ThreadPoolExecutor,
    advance: Advance,
) -> Iterator[Contents]:
    """Writes shards from number `number` on; a shard is closed when its texts reach `shard_mb`."""
    unit = next(units, None)
    while True:
        with ShardWriter(out.shard(number), next_unit) as writer:
            while unit is not None and writer.bytes < recipe.shard_mb * 1e6:
                writer.add(unit, threads)
                advance(unit.rows - unit.shown)
                unit = next(units, None)
            contents = writer.close(last=unit is None, threads=threads)
        yield contents
        if contents.last:
            return
        number, next_unit = number + 1, contents.next_unit


def _complete(out: Path) -> dict[str, Any]:
    """The manifest of a data set that is there already, whose files must be too."""
    manifest = directory.manifest(out)
    for name, about in manifest["files"].items():
        path = out / name
        if not path.is_file() or path.stat().st_size != about["bytes"]:
            raise ExistingOutputError(
                f"{path} is not the file that was built; --on-existing delete builds it all anew"
            )
    console.print(f"{out}: is complete already", markup=False)
    return manifest


def _nothing_usable(opened: Opened, total: Contents, out: Store) -> InputError:
    reasons = describe.quarantined(total.nested())
    counts = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
    first = shards.first_quarantined(out.shards())
    detail = f" ({counts}); the first: {first}" if first else ""
    hint = ""
    if reasons.keys() & NO_CHOICE:
        hint = "; for --loss sft, or kto on labels, give mine.require_choice=false"
    rows = total.counts["source.rows"]
    where = opened.files[0] if len(opened.files) == 1 else opened.source.name
    return InputError(f"{where}: no usable candidate set in {rows:,} rows{detail}{hint}")


@contextmanager
def _stopping(out: Store) -> Iterator[None]:
    """What stops a build, as errors that say what is kept; what the next try could not use is removed."""
    try:
        yield
    except (PairkitError, OSError, KeyboardInterrupt) as error:
        rows = shards.together(map(shards.read_contents, out.shards())).counts["source.rows"]
        units = unit_store.kept(out.asked_folder)
        if isinstance(error, InputError) or not (rows or units):
            out.discard()
        if isinstance(error, PairkitError):
            raise
        kept = f"{rows:,} rows are done and kept" if rows or units else "nothing was done yet"
        if units:
            kept += f", and what models have said to {units:,} units behind them"
        again = f"{kept}; the same command continues"
        if isinstance(error, KeyboardInterrupt):
            raise Interrupted(f"{out.out}: stopped; {again}") from error
        raise OutputError(f"{out.out}: cannot be written to: {error.strerror or error}; {again}") from error
