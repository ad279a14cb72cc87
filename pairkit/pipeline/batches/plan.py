"""What a build would submit in batches, and what that costs at most: lines of a dry run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from pairkit.engines import plan_batches
from pairkit.engines.base import PlannedEngine
from pairkit.engines.generate import no_progress
from pairkit.engines.pool import EnginePool
from pairkit.engines.recipe import CallSettings
from pairkit.engines.rehearsal import StoredCalls
from pairkit.pipeline.batches.later import LaterEngine
from pairkit.pipeline.batches.passes import has_batches
from pairkit.pipeline.model_stages import open_generation
from pairkit.pipeline.recipe import BuildRecipe
from pairkit.pipeline.stages import identified
from pairkit.rankers import table
from pairkit.rankers.table import name_of
from pairkit.sources import Opened


@dataclass
class _Planning(EnginePool):
    """The pool with engines that only count."""

    planned: dict[int, PlannedEngine] = field(default_factory=dict)

    def engine(self, recipe: Any, name: str | None = None) -> PlannedEngine | LaterEngine:
        if not has_batches(recipe):
            return LaterEngine(name or recipe.model)
        if id(recipe) not in self.planned:
            assert self.cache is not None
            engine = plan_batches(recipe, self.calls, self.cache.path)
            self.opened.callback(engine.close)
            self.planned[id(recipe)] = engine
        return self.planned[id(recipe)]


def plan(recipe: BuildRecipe, opened: Opened, cache: Path) -> list[str]:
    """Return a line per block whose calls go into batches; all rows of the source are read for it.

    Raises what reading the source raises, and `OutputError` for a cache that cannot be read.
    """
    judges = [block for block in table.asking(recipe.rankings) if has_batches(block)]
    with ExitStack() as stack:
        calls = stack.enter_context(closing(StoredCalls(cache)))
        pool = _Planning(recipe.calls, calls, stack)
        lines, complete = _plan_writers(recipe, opened, pool)
        lines += _plan_judges(recipe, opened, pool, judges, complete=complete)
        if calls.hits:
            lines.append(f"  {calls.hits:,} answers are in {cache}")
    return lines


def _plan_writers(recipe: BuildRecipe, opened: Opened, pool: _Planning) -> tuple[list[str], bool]:
    """Return the lines of the models that generate, and whether judges can be asked about some sets."""
    writers = recipe.writers
    if not any(map(has_batches, writers.values())):
        # The completions of other engines are not there before they are generated.
        return [], recipe.generate is None
    for _ in _generated(recipe, pool, _sets(recipe, opened)):
        pass
    lines = []
    for name, block in writers.items():
        if has_batches(block):
            lines += _described(name, block.model, pool.planned[id(block)], recipe.calls)
        else:
            lines.append(f"batches of {name}: none; engine {block.engine} is asked after those of the others")
    waiting = [engine.requests + engine.submitted for engine in pool.planned.values()]
    # Of one model, those sets alone whose answers are stored; of several, what some have written is no set.
    return lines, len(writers) == 1 or (all(map(has_batches, writers.values())) and not any(waiting))


def _plan_judges(
    recipe: BuildRecipe, opened: Opened, pool: _Planning, judges: Sequence[Any], *, complete: bool
) -> list[str]:
    lines = []
    if complete and judges:
        rankers = [table.load(block, pool, recipe.seed) for block in judges]
        sets = _sets(recipe, opened)
        for part in sets if recipe.generate is None else _generated(recipe, pool, sets):
            for ranker in rankers:
                ranker.score(part, no_progress)
    for judge in judges:
        name = f"rank.{name_of(judge)}"
        if not complete:
            lines.append(f"batches of {name}: its questions follow the completions")
            continue
        lines += _described(name, pool.planned[id(judge)].name, pool.planned[id(judge)], recipe.calls)
        lines.append("  further questions follow the completions and verdicts that are not there yet")
    return lines


def _sets(recipe: BuildRecipe, opened: Opened) -> Iterator[pa.Table]:
    for unit in identified(opened.batches(rows=recipe.unit_rows), {}):
        yield unit.result.sets


def _generated(recipe: BuildRecipe, pool: EnginePool, sets: Iterator[pa.Table]) -> Iterator[pa.Table]:
    assert recipe.generate is not None
    for result in open_generation(recipe.generate, recipe.seed, pool)(sets, no_progress):
        # Those alone whose answers are stored.
        yield result.sets


def _described(name: str, model: str, engine: PlannedEngine, calls: CallSettings) -> list[str]:
    batches = f"{engine.batches:,} batch{'es' * (engine.batches != 1)}"
    before = f"; {engine.submitted:,} are in batches of an earlier run" if engine.submitted else ""
    size = f"{engine.size / 1e6:,.1f} MB"
    lines = [
        f"batches of {name}: {engine.requests:,} requests in {batches}, {size}{before}",
        f"  at most about {engine.prompt:,} prompt and {engine.completion:,} completion tokens",
    ]
    if price := calls.prices.get(model):
        whole = (price.input * engine.prompt + price.output * engine.completion) / 1e6
        share = calls.batches.price
        lines[-1] += f", at a cost of at most about {_money(share * whole)} ({share:.0%} of {_money(whole)})"
    return lines


def _money(amount: float) -> str:
    # Some digits of a small one too, which 0.00 would not show.
    return f"{amount:,.2f}" if amount >= 1 or not amount else f"{amount:.2g}"
