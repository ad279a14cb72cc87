"""A build from its recipe to a published data set, started anew or continued."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from pairkit import __version__
from pairkit.engines.cache import Cache
from pairkit.engines.local import fingerprint, library_version
from pairkit.errors import ExistingOutputError, InputError, Interrupted, OutputError, PairkitError
from pairkit.files import stoppable
from pairkit.mining.policies import NO_CHOICE
from pairkit.pipeline import asked, describe, rankers, shards, store, units_kept
from pairkit.pipeline.overlap import ahead, mapped
from pairkit.pipeline.publish import publish
from pairkit.pipeline.recipe import BuildRecipe, name_of, portable
from pairkit.pipeline.shards import Contents, ShardWriter
from pairkit.pipeline.stages import Done, finish, identified
from pairkit.pipeline.store import Identity, OnExisting, Store
from pairkit.progress import Advance, console, progress
from pairkit.schema import short_hash
from pairkit.sources import Opened, open_source

# Libraries that determine bytes (the writer) or rows (the kernels): an unfinished build continues with the
# same ones only.
LIBRARIES = ("pyarrow", "polars")
# And those that determine what a model answers, for each engine; rankers with a model run in transformers.
ENGINE_LIBRARIES = {"transformers": ("torch", "transformers"), "vllm": ("vllm",), "openai": ()}
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
    with stoppable(out, lambda: again), store.claimed(out, identity, on_existing) as claimed:
        if claimed is None:
            return _complete(out)
        with _stopping(claimed):
            with _means(recipe, cache or out.parent / CACHE, retry_failed=retry_failed) as means:
                total = _write_shards(claimed, recipe, opened, workers or default_workers(), means)
            if total.counts["mine.sets_out"] == 0:
                raise _nothing_usable(opened, total, claimed)
            manifest = publish(claimed, identity, opened)
        claimed.finish()
        return manifest


def identify_build(recipe: BuildRecipe, opened: Opened) -> Identity:
    """What determines the bytes of a build: recipe, input, model and library versions."""
    content = portable(recipe)
    models = _models(recipe)
    prompts = rankers.judge_prompts(recipe)
    libraries = dict.fromkeys(LIBRARIES)
    if recipe.generate is not None:
        libraries |= dict.fromkeys(ENGINE_LIBRARIES[recipe.generate.engine])
    for block in rankers.asking(recipe):
        libraries |= dict.fromkeys(ENGINE_LIBRARIES[getattr(block, "engine", "transformers")])
    return {
        "recipe": content,
        "recipe_hash": short_hash(content),
        "input": {"fingerprint": opened.fingerprint, **models},
        **({"judge_prompts": prompts} if prompts else {}),
        "pairkit": __version__,
        "versions": {name: library_version(name) for name in libraries},
    }


def _models(recipe: BuildRecipe) -> dict[str, Any]:
    """Hashes of the models that are directories; the others are named by the recipe."""
    found: dict[str, Any] = {}
    if recipe.generate is not None and recipe.generate.engine != "openai":
        found |= fingerprint(recipe.generate.model)
    local = [block for block in rankers.asking(recipe) if getattr(block, "engine", "") != "openai"]
    prints = {name_of(block): fingerprint(getattr(block, "model", "")).get("model") for block in local}
    if any(prints.values()):
        found["ranking_models"] = prints
    return found


@contextmanager
def _means(recipe: BuildRecipe, cache: Path, *, retry_failed: bool) -> Iterator[asked.Means]:
    """What models are asked with; engines and the cache are closed at the end."""
    engines = recipe.generate is not None or any(hasattr(block, "engine") for block in recipe.rankings)
    with ExitStack() as opened:
        found = Cache(cache, retry_failed=retry_failed) if engines else None
        if found is not None:
            opened.callback(found.close)
        yield asked.Means(recipe, found, opened)


def default_workers() -> int:
    """One a CPU core that this process may use, four at most: the writer is then the bottleneck."""
    return min(4, len(os.sched_getaffinity(0)))


def _write_shards(
    out: Store, recipe: BuildRecipe, opened: Opened, workers: int, means: asked.Means
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
        closing(asked.asked(read, recipe, out.asked_folder, total.next_unit, means, advance)) as units,
        closing(mapped(lambda unit: finish(unit, recipe), units, workers)) as finished,
        ThreadPoolExecutor(2, thread_name_prefix="write") as threads,
    ):
        for contents in _shards(out, recipe, finished, len(folders), total.next_unit, threads, advance):
            total.last = contents.last
            total.add(contents.counts, contents.histograms)
            units_kept.forget(out.asked_folder, contents.next_unit)
            out.log(event="shard", time=time.time(), rows=total.counts["source.rows"], **means.usage())
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
    manifest = store.manifest(out)
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
        units = units_kept.kept(out.asked_folder)
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
