"""The stages that ask a model: completions and scores, each result kept on disk until the build is finished.

The answers of models are the most expensive part of a build. So a build that stopped, or whose recipe has
changed in what follows, asks again only for the units it has no result of; what an engine returned for
those is in the cache of calls. Completions stream through the units: the engine is given the next unit's
requests before the last answer of this one has arrived. Rankers then score a unit at a time, in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from pairkit.engines import unloaded
from pairkit.engines.generate import GenerateRecipe, SampleSettings, generate_tables, no_progress
from pairkit.engines.model_pool import Member, PoolRecipe, own_seed, pool_tables
from pairkit.engines.pool import EnginePool
from pairkit.engines.tolerant import TolerantEngine
from pairkit.pipeline import unit_store
from pairkit.pipeline.recipe import BuildRecipe
from pairkit.pipeline.unit import Unit
from pairkit.progress import Advance
from pairkit.rankers import table
from pairkit.rankers.base import Ranker
from pairkit.rankers.named import keep_own_order
from pairkit.schema import StageResult


@dataclass(frozen=True)
class ModelStage:
    """A stage that asks a model, before it is opened. It pickles; `open` is for the worker that runs it.

    Attributes:
        name: "generate" or "rank", of its counts and of its rows in quarantine.
        block: the block of the recipe.
        seed: the recipe's.
    """

    name: str
    # A block and not an engine, because models and connections do not pickle.
    block: Any
    seed: int

    @property
    def blocks(self) -> tuple[Any, ...]:
        """The block of each of its models: a pool has several."""
        return self.block.models if isinstance(self.block, PoolRecipe) else (self.block,)

    def open(self, pool: EnginePool) -> Callable[[Iterable[pa.Table | None]], Iterator[StageResult]]:
        """Open the engine or load the model; return what runs the stage on a stream of tables.

        Results come in the order of the tables. None in the stream is no table: none is ready at the moment,
        and results that are should not wait for one.
        """
        if self.name == "generate":
            generation = open_generation(self.block, self.seed, pool)
            return lambda tables: generation(tables, no_progress)
        ranker = table.load(self.block, pool, self.seed)
        return lambda tables: (score(sets, ranker, no_progress) for sets in tables if sets is not None)


def model_stages(recipe: BuildRecipe) -> list[ModelStage]:
    """Return the stages that ask a model, in order."""
    generate = [] if recipe.generate is None else [ModelStage("generate", recipe.generate, recipe.seed)]
    # Generation first, because rankers score what it returns.
    rankers = [ModelStage("rank", block, recipe.seed) for block in table.asking(recipe.rankings)]
    # Rankers that only compute are no part of this: running them again costs less than storing their result.
    return generate + rankers


def open_generation(
    block: GenerateRecipe | PoolRecipe, seed: int, pool: EnginePool
) -> Callable[[Iterable[pa.Table | None], Advance], Generator[StageResult]]:
    """Open the engine of a `generate:` block; return what completes a stream of tables with it."""
    # Opened here and not in the generator, which would run nothing before its first table is asked for.
    if isinstance(block, PoolRecipe):
        return _open_pool(block, seed, pool)
    engine = pool.engine(block)
    settings = _settings(block, seed)

    def generation(tables: Iterable[pa.Table | None], advance: Advance) -> Generator[StageResult]:
        return generate_tables(tables, engine, settings, cache=pool.cache, advance=advance)

    return generation


def _settings(block: GenerateRecipe, seed: int) -> SampleSettings:
    return SampleSettings(
        block.samples, block.max_tokens, seed, block.keep_source, block.truncated, block.instruct
    )


def _open_pool(
    block: PoolRecipe, seed: int, pool: EnginePool
) -> Callable[[Iterable[pa.Table | None], Advance], Generator[StageResult]]:
    members = [
        Member(
            TolerantEngine(
                each.title, partial(pool.engine, each, each.title), partial(unloaded, each), pool.failures
            ),
            _settings(each, own_seed(seed, each.title)),
        )
        for each in block.models
    ]

    def generation(tables: Iterable[pa.Table | None], advance: Advance) -> Generator[StageResult]:
        return pool_tables(
            tables,
            members,
            pick=block.pick,
            seed=seed,
            keep_source=block.keep_source,
            cache=pool.cache,
            advance=advance,
        )

    return generation


def score(sets: pa.Table, ranker: Ranker, advance: Advance) -> StageResult:
    """Add a ranker's named scores; `ordering.order` decides about rank and score later."""
    result = ranker.score(sets, advance)
    # Prefixed, because two rankers may count under the same names.
    counts = {f"{ranker.name}_{name}": number for name, number in result.counts.items()}
    # Without rank and score, because with several rankers the recipe's `order` decides which one sets them.
    return replace(result, sets=keep_own_order(result.sets, sets), counts=counts)


class Item(NamedTuple):
    """A unit, its number, and how many of the stages that ask a model have been run on it."""

    number: int
    unit: Unit
    done: int = 0

    def after(self, stage: str, result: StageResult) -> Item:
        # With counts and quarantine, because a stored result has to contain all stages so far.
        unit = self.unit._replace(result=self.unit.result.then(stage, result))
        return self._replace(unit=unit, done=self.done + 1)


def ask_models(
    units: Iterable[Unit],
    recipe: BuildRecipe,
    keys: Mapping[str, str],
    folder: Path,
    first: int,
    pool: EnginePool,
    advance: Advance,
    step: int = 1,
) -> Generator[Unit]:
    """Yield each unit after the stages that ask a model.

    Models are loaded when a unit comes that has no result in `folder` yet, and stay loaded.

    Args:
        keys: of each stage, see `identity.stage_keys`.
        first: the number of the first unit.
        step: from the number of a unit to that of the next one.

    Raises:
        ModelError, EngineError, BudgetError, MissingExtraError: see `EnginePool.engine` and `table.load`.
    """
    # No stage asks a model, so there is nothing to look up on disk.
    if not keys:
        yield from units
        return
    hashes = tuple(keys.values())
    items = stored(units, folder, first, hashes, step)
    item = next(items, None)
    # These units need no model, because a build that only mines again should run without a GPU or a server.
    while item is not None and item.done == len(hashes):
        yield item.unit
        item = next(items, None)
    if item is None:
        return
    # Rankers are loaded before anything is generated, because a missing judge should not be noticed only
    # when thousands of completions wait for it.
    rankers = [table.load(block, pool, recipe.seed) for block in table.asking(recipe.rankings)]
    # The unit that ended the loop above is put back in front.
    live = _generated(chain([item], items), recipe, hashes[0], folder, pool, advance)
    # Closed here and not by the collector, which may come after the engines are closed.
    with closing(live):
        for item in live:
            # Those that have not scored this unit: `done` counts generation too, the list does not.
            for ranker in rankers[len(rankers) + item.done - len(hashes) :]:
                result = score(item.unit.result.sets, ranker, _counting(ranker, pool, advance))
                item = item.after("rank", result)
                # Before it is passed on, because a shard may be far from closed when the process is killed.
                unit_store.write(folder, item.number, hashes[item.done - 1], item.unit.result)
            yield item.unit


def generate_all(
    units: Iterable[Unit],
    recipe: BuildRecipe,
    hashes: tuple[str, ...],
    folder: Path,
    first: int,
    pool: EnginePool,
) -> None:
    """Generate the completions of all units before any is ranked, and store them where `ask_models` looks."""
    items = _generated(stored(units, folder, first, hashes), recipe, hashes[0], folder, pool, no_progress)
    with closing(items):
        for _ in items:
            pass


def stored(
    units: Iterable[Unit], folder: Path, first: int, hashes: tuple[str, ...], step: int = 1
) -> Iterator[Item]:
    """Yield each unit with the result after the most stages that is stored.

    Stages process the units in order, so no unit is further than the one before it. If a file was lost, the
    units after it are asked about again; the cache has the answers of engines.
    """
    # Nothing limits the first unit; each other one is limited by the unit before it.
    stage_count = len(hashes)
    for number, unit in zip(count(first, step), units, strict=False):
        # Only keys up to the previous unit's, see above.
        stage_count, result = unit_store.read_last(folder, number, hashes[:stage_count])
        yield Item(number, unit if result is None else unit._replace(result=result), stage_count)


def _generated(
    items: Iterator[Item], recipe: BuildRecipe, key: str, folder: Path, pool: EnginePool, advance: Advance
) -> Generator[Item]:
    """Yield items with completions; a recipe without `generate` keeps those of the source."""
    if recipe.generate is None:
        yield from items
        return
    item = next(items, None)
    while item is not None and item.done:  # generated by a build that stopped: no engine is needed for these
        yield item
        item = next(items, None)
    if item is None:
        return
    # The engine reads units in advance of its answers, so several are open at once.
    pending: deque[Item] = deque()

    def tables() -> Iterator[pa.Table]:
        for each in chain([item], items):
            pending.append(each)
            yield each.unit.result.sets

    # Completions in the note, rows in the bar: a set may have many completions.
    total = 0

    def count(completions: int = 1, /, note: str = "") -> None:
        nonlocal total
        total += completions
        # One set, however many completions it has, because the bar counts rows.
        advance(1, note=", ".join(part for part in (f"{total:,} completions", pool.note()) if part))

    stream = open_generation(recipe.generate, recipe.seed, pool)(tables(), count)
    # Closed at once if a later stage fails, so that no further call is made for units nobody takes.
    with closing(stream):
        for result in stream:
            # The oldest, because results come in the order of the tables.
            generated = pending.popleft()
            # Its rows are in the bar already, and `_shards` must not add them again.
            unit = generated.unit._replace(shown=generated.unit.result.sets.num_rows)
            generated = generated._replace(unit=unit).after("generate", result)
            # Before the rankers see it, because a failing ranker must not cost the completions.
            unit_store.write(folder, generated.number, key, generated.unit.result)
            yield generated


def _counting(ranker: Ranker, pool: EnginePool, advance: Advance) -> Advance:
    """Return an `Advance` that shows what the ranker does next to the progress of the build."""
    total = 0

    def count(completions: int = 1, /, note: str = "") -> None:
        nonlocal total
        total += completions
        parts = (f"{ranker.name}: {total:,} completions", note, pool.note())
        # 0 rows, because a unit's rows count when they are written; only the note moves.
        advance(0, note=", ".join(part for part in parts if part))

    return count
