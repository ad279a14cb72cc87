"""A build from its recipe to a published dataset, from the start or continued."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pairkit.errors import ExistingOutputError, InputError, Interrupted, OutputError, PairkitError
from pairkit.files import OnExisting, stoppable
from pairkit.hashing import sha256_of
from pairkit.imports import import_own
from pairkit.pipeline import (
    closed_shards,
    describe,
    directory,
    readings,
    require_completions,
    shards,
    unit_store,
    validate,
)
from pairkit.pipeline.batches.passes import Units
from pairkit.pipeline.changes import Identity, differences
from pairkit.pipeline.directory import CACHE, BuildDirectory
from pairkit.pipeline.executors import local
from pairkit.pipeline.executors.ray.settings import RaySettings
from pairkit.pipeline.executors.work import Executor, Opens, Work
from pairkit.pipeline.identity import identify_build, prepass_key, stage_keys
from pairkit.pipeline.inputs import Inputs, open_input
from pairkit.pipeline.nothing_usable import NothingUsable as NothingUsable
from pairkit.pipeline.nothing_usable import annotations_of_others, nothing_usable
from pairkit.pipeline.prepass import keep_list
from pairkit.pipeline.prepass import run as prepass
from pairkit.pipeline.publish import publish
from pairkit.pipeline.recipe import BuildRecipe
from pairkit.pipeline.shards import Contents, ShardWriter
from pairkit.pipeline.stages import identified, screened
from pairkit.pipeline.unit import FinishedUnit, Unit, releasing
from pairkit.progress import Advance, log, progress
from pairkit.rankers.human.describe import is_about_others
from pairkit.rankers.table import HumanRank
from pairkit.schema import StageResult
from pairkit.sources import Opened

# What continues a build that was stopped.
_AGAIN = "run the same command again to continue"


def build(
    recipe: BuildRecipe,
    out: Path,
    *,
    on_existing: OnExisting = "resume",
    workers: int | None = None,
    cache: Path | None = None,
    retry_failed: bool = False,
    results: Path | None = None,
    cluster: RaySettings | None = None,
) -> dict[str, Any]:
    """Build the dataset of `recipe` in the directory `out` and return its manifest.

    A build that stopped, for whatever reason, continues after its last closed shard; the rows, their order
    and the bytes of every published file are those of a build that never stopped, whatever the number of
    `workers` (units processed at a time; None: one per CPU core, at most four). An unfinished build whose
    recipe has changed only after a stage that asks a model keeps the results of that stage.

    The answers of engines are stored in the file `cache` (None: calls.sqlite next to `out`) and not
    requested again by any build that uses the file. With `retry_failed`, failed requests are, and the
    dataset is built again from the start.

    The results of stages that ask a model are looked for, and stored, in the folder `results` (None: in `out`
    until the build is finished).

    With `cluster`, Ray runs the stages on the nodes of a cluster, and `workers` is not used. A build that
    another executor began continues; without models the bytes are the same.

    Raises `RecipeError` for a recipe that cannot be built, `InputError` for input that cannot be read or
    holds no usable set, `ExistingOutputError` if `out` holds something else, `OutputError` if it cannot be
    written to, `Interrupted` after SIGINT, `ModelError`, `EngineError`, `BudgetError` and
    `MissingExtraError` if a model cannot be asked, `ClusterError` if a cluster cannot be used.
    """
    if cluster is not None:
        cluster.check(recipe)
    # Before the directory is touched, because wrong input or a wrong recipe must leave nothing there.
    opened = open_input(recipe.input, out)
    inputs = Inputs(opened)
    validate.check(recipe)
    require_completions.check(recipe, opened)
    identity = identify_build(recipe, opened)
    keys = stage_keys(recipe, identity)
    if retry_failed:  # sets in quarantine must come from the source again; the cache has the other answers
        on_existing = "delete"
    # A fallback for SIGINT outside `_stopping`, where the number of rows that are done is unknown.
    again = f"{out}: stopped; {_AGAIN}"
    # One process per directory, because two would write shards under the same numbers.
    with stoppable(out, lambda: again), directory.claimed(out, identity, on_existing, keys) as claimed:
        if claimed is None:
            return _complete(out, recipe)
        # Outside `_stopping`, which reports how much is done, and with what is damaged nothing is.
        shard_contents = closed_shards.verified(claimed)
        with _stopping(claimed, keys):
            # Before the engines are open, because a wrong tokenizer should cost nothing.
            validate.open_noise(recipe)
            next_unit = shards.together(shard_contents).next_unit
            calls, results_folder = cache or out.parent / CACHE, results or claimed.results_folder
            work = Work(recipe, keys, results_folder, next_unit, calls, retry_failed)
            opens = partial(_executor, cluster=cluster, workers=workers)
            total = _write_shards(claimed, opened, inputs, shard_contents, work, opens, identity)
            for block in recipe.rankings:
                if isinstance(block, HumanRank) and is_about_others(total.nested()):
                    raise annotations_of_others(block.path, opened, total)
            # Not published, because a dataset without a set only fails later, in training.
            if total.counts["mine.sets_out"] == 0:
                raise nothing_usable(recipe, opened, total, claimed, keys)
            # Neither is one of prompts alone, unless that is what the recipe asks for.
            if not _completions(total) and not (
                recipe.generate or require_completions.on_purpose(recipe, opened)
            ):
                raise require_completions.no_completions(opened, describe.quarantined(total.nested()))
            # Models, templates and prompts may have been replaced as well as the rows.
            if changes := differences(identity, identify_build(recipe, opened)):
                raise InputError(f"{out}: not published: while it was built, {'; '.join(changes)}")
            manifest = publish(claimed, identity, opened, inputs, recipe.card)
        # Outside `_stopping`, because nothing of a complete dataset may be discarded.
        claimed.finish()
        return manifest


def _executor(
    work: Work, units: Units, *, cluster: RaySettings | None, workers: int | None
) -> AbstractContextManager[Executor]:
    """Open what runs the stages: an `Opens` once the others are bound."""
    if cluster is None:
        return local.opened(work, units, workers=workers or local.default_workers())
    # Imported when it is needed, because Ray is an extra.
    executor: AbstractContextManager[Executor] = import_own("pairkit.pipeline.executors.ray.executor:opened")(
        work, settings=cluster
    )
    return executor


def _write_shards(
    out: BuildDirectory,
    opened: Opened,
    inputs: Inputs,
    shard_contents: Sequence[Contents],
    work: Work,
    opens: Opens,
    identity: Identity,
) -> Contents:
    """Process the units that are not in a closed shard yet; return the contents of all shards together."""
    recipe, folders = work.recipe, out.shards()
    total = shards.together(shard_contents)
    # The last shard is closed, so only publication was stopped: open no source and no model.
    if total.last:
        return total
    rows = total.counts["source.rows"]
    # Rows of closed shards only: what was in an unfinished one is read again.
    out.log(event="continue" if folders else "start", time=time.time(), rows=rows)
    for line in readings.lines(readings.records(opened.readings)):
        log(f"{out.out}: {line}")
    screen = prepass.screen(
        recipe.prepass, opened, out.prepass_folder, prepass_key(recipe, identity), recipe.unit_rows
    )

    # Occurrences of earlier shards count, because a set's id contains how often its prompt came before.
    def numbered(rows: Iterable[StageResult]) -> Iterator[Unit]:
        return screened(identified(rows, shards.occurrences(folders)), screen)

    # By units and not by rows, because a unit is the smallest part that is written at once.
    raw = partial(opened.batches, start=total.next_unit, rows=recipe.unit_rows)
    # The threads last, because they write what the executor yields.
    with (
        opens(work, lambda: numbered(raw())) as executor,
        progress(f"Building {out.out}", opened.total_rows, unit="rows", done=rows) as advance,
        closing(executor.finished(numbered(inputs.reading(raw())), advance)) as finished,
        ThreadPoolExecutor(2, thread_name_prefix="write") as threads,
    ):
        new_shards = _shards(out, recipe, inputs, finished, len(folders), total.next_unit, threads, advance)
        for contents in new_shards:
            # Summed as shards close, because a unit that is only in memory is lost by a kill.
            total.last = contents.last
            total.add(contents.counts, contents.histograms)
            # Usage with each shard, because a process that is killed logs nothing at its end.
            out.log(event="shard", time=time.time(), rows=total.counts["source.rows"], **executor.usage())
    return total


def _shards(
    out: BuildDirectory,
    recipe: BuildRecipe,
    inputs: Inputs,
    units: Iterator[FinishedUnit],
    number: int,
    next_unit: int,
    threads: ThreadPoolExecutor,
    advance: Advance,
) -> Iterator[Contents]:
    """Write shards from number `number` on; a shard is closed when its texts reach `shard_mb`."""
    # One unit in advance, because a shard has to know whether it is the last when it is closed.
    units = releasing(units)
    finished = next(units, None)
    while True:
        with ShardWriter(out.shard(number), next_unit, out.built) as writer:
            # Bytes of text, because the size of the file is known only after it was compressed.
            while finished is not None and writer.bytes < recipe.shard_mb * 1e6:
                writer.add(finished, threads)
                # Generation has shown some rows already; counting them twice would pass 100%.
                advance(finished.unit.rows - finished.unit.shown)
                finished = next(units, None)
            inputs.check_written()
            contents = writer.close(last=finished is None, threads=threads)
        # After the `with`, that is after the rename: what the caller logs is on disk.
        yield contents
        if contents.last:
            return
        number, next_unit = number + 1, contents.next_unit


def _complete(out: Path, recipe: BuildRecipe) -> dict[str, Any]:
    """Return the manifest of a dataset that is complete already, if its files are there and its card fits."""
    manifest = directory.manifest(out)
    check_card(out, manifest, recipe)
    digests = {out / name: about["sha256"] for name, about in manifest["files"].items()}
    hashes = sha256_of((path for path in digests if path.is_file()), f"checking {out}")
    for path in digests:
        if hashes.get(path) != digests[path]:
            raise ExistingOutputError(
                f"{path} is not the file that was built; use --on-existing delete to build everything again"
            )
    log(f"{out}: already complete")
    return manifest


def check_card(out: object, manifest: Mapping[str, Any], recipe: BuildRecipe) -> None:
    """Raise `ExistingOutputError` if the card of a complete dataset has other fields than the recipe."""
    # Not written again: runs that were trained on the dataset know it by the hash of its manifest.
    theirs, ours = manifest.get("card", {}), recipe.card.given()
    fields = [
        f"card.{key}" for key in sorted(theirs.keys() | ours.keys()) if theirs.get(key) != ours.get(key)
    ]
    if fields:
        raise ExistingOutputError(
            f"{out} contains a complete dataset with another card ({', '.join(fields)}): give the fields to "
            "`pairkit push`, as in --card.license mit, or use --on-existing delete to build everything again"
        )


def _completions(total: Contents) -> int:
    return sum(total.counts[f"{split}.completions"] for split in ("train", "test"))


def _status(rows: int, units: int) -> str:
    """Describe what a stopped build keeps: rows in shards, and units after them whose answers are stored."""
    if not (rows or units):
        return "nothing was done yet"
    text = "1 row is done and kept" if rows == 1 else f"{rows:,} rows are done and kept"
    return f"{text}, and model answers for {units:,} more unit{'s' * (units != 1)}" if units else text


@contextmanager
def _stopping(out: BuildDirectory, keys: Mapping[str, str]) -> Iterator[None]:
    """Turn what stops a build into errors that name what is kept; remove what a next try could not use."""
    try:
        yield
    # Any other exception is a defect: the directory stays as it is, to be looked at.
    except (PairkitError, OSError, KeyboardInterrupt) as error:
        # It says what is damaged, so that nothing can be read to describe what is done.
        if isinstance(error, ExistingOutputError):
            raise
        # SIGINT can come while a writer opens its folder, before the writer could remove it.
        out.remove_unfinished_shards()
        # Read from disk, because memory counts units whose shard was never closed.
        contents = shards.together(map(shards.read_contents, out.shards()))
        rows = contents.counts["source.rows"]
        # From the first unit after the shards, because units in a shard are among the rows already.
        units = unit_store.count(out.results_folder, keys.values(), first=contents.next_unit)
        results = unit_store.count(out.results_folder, keys.values())
        # Other input has another fingerprint, so shards of the wrong one are of no use; answers may still be.
        spoiled = isinstance(error, InputError) and not (isinstance(error, NothingUsable) and results)
        # An empty .build would only make the next command speak of an unfinished build.
        if spoiled or not (rows or units or keep_list.complete(out.prepass_folder)):
            out.discard()
        if isinstance(error, PairkitError):
            raise
        again = f"{_status(rows, units)}; {_AGAIN}"
        if isinstance(error, KeyboardInterrupt):
            raise Interrupted(f"{out.out}: stopped; {again}") from error
        raise OutputError(f"{out.out}: cannot be written to: {error.strerror or error}; {again}") from error
