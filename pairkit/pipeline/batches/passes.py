"""Calls of a build in batches: all units are asked for at once, until every call is answered.

A batch takes up to a day, so that a unit cannot wait for its own. Instead, each pass asks for all units what
is not in the cache yet; the calls go into batches, and their sets are left out of the rest of the pass. When
the batches are done, the next pass finds the answers in the cache, and asks what follows from them: the next
comparison, or another try of a verdict. After the last pass the build runs as it does without batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pairkit.engines.base import BatchEngine
from pairkit.engines.generate import no_progress
from pairkit.engines.pool import EnginePool
from pairkit.engines.table import ENGINES
from pairkit.models.names import public_name
from pairkit.pipeline import model_stages, unit_store
from pairkit.pipeline.batches.later import LaterEngine
from pairkit.pipeline.recipe import BuildRecipe
from pairkit.pipeline.unit import Unit
from pairkit.progress import log, progress
from pairkit.rankers import table

# Reads the units from the source, again each time.
Units = Callable[[], Iterator[Unit]]


@dataclass
class _Batching(EnginePool):
    """The pool with engines that put calls into batches."""

    def engine(self, recipe: Any, name: str | None = None) -> BatchEngine | LaterEngine:
        engine = self.batches(recipe, name)
        return engine or LaterEngine(name or public_name(recipe.model))


def answer_in_batches(
    units: Units, recipe: BuildRecipe, keys: Mapping[str, str], folder: Path, first: int, pool: EnginePool
) -> None:
    """Have the calls of all units answered in batches; the cache has the answers then.

    Args:
        units: reads the units from the source, again each time.
        keys, folder, first: see `model_stages.ask_models`.

    Raises what `ask_models` raises.
    """
    hashes = tuple(keys.values())
    judges = [block for block in table.asking(recipe.rankings) if has_batches(block)]
    batching = _Batching(
        pool.calls,
        pool.cache,
        pool.opened,
        pool.engines,
        pool.batching,
        budget=pool.shared,
        failures=pool.failures,
    )

    def states() -> Iterator[tuple[int, pa.Table]]:
        """Yield how many stages each unit is after, and its sets then."""
        for number, unit in enumerate(units(), first):
            stage_count, result = unit_store.read_last(folder, number, hashes)
            yield stage_count, (unit.result if result is None else result).sets

    if recipe.generate is not None:
        writers = [block for block in recipe.writers.values() if has_batches(block)]
        if writers:
            generation = model_stages.open_generation(recipe.generate, recipe.seed, batching)

            def ask() -> None:
                tables = (sets for stage_count, sets in states() if not stage_count)
                for _ in generation(tables, no_progress):
                    pass

            _settle(lambda: _reachable(writers, batching), ask, "completions")
        # Stored before the judges are asked, for all units and not for one after the other.
        if judges:
            model_stages.generate_all(units(), recipe, hashes, folder, first, pool)
    if judges:
        rankers = [table.load(block, batching, recipe.seed) for block in judges]

        def judge() -> None:
            for stage_count, sets in states():
                # All judges, so that their batches run at the same time.
                if stage_count < len(hashes):
                    for ranker in rankers:
                        ranker.score(sets, no_progress)

        _settle(lambda: _reachable(judges, batching), judge, "verdicts")


def _reachable(blocks: Sequence[Any], pool: EnginePool) -> list[BatchEngine]:
    """Return the engines of blocks, without those of a pool that cannot be asked."""
    return [
        pool.batching[id(block)]
        for block in blocks
        if id(block) in pool.batching and getattr(block, "title", None) not in pool.failures
    ]


def _settle(opened: Callable[[], list[BatchEngine]], ask: Callable[[], None], what: str) -> None:
    """Ask until no answer is missing."""
    while True:
        ask()
        engines = opened()
        for engine in engines:
            engine.flush()
        # All of them first, because each has to be waited for.
        again = [_wait(engine, what) for engine in engines]
        if not any(again):
            return


def _wait(engine: BatchEngine, what: str) -> bool:
    if not engine.waiting:
        return engine.wait(lambda count: None)
    with progress(f"Waiting for {what} in batches", engine.waiting, unit="requests") as advance:
        shown = 0

        def on_look(count: int) -> None:
            nonlocal shown
            advance(count - shown)
            shown = count

        try:
            return engine.wait(on_look)
        except KeyboardInterrupt:
            log(f"{engine.waiting:,} requests stay in batches at the server: the same command waits for them")
            raise


def has_batches(block: Any) -> bool:
    """Return whether the calls of a block can go into batches."""
    engine = getattr(block, "engine", None)
    return engine is not None and ENGINES[engine].batches is not None
