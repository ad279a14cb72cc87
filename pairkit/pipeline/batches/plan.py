"""What a build would submit in batches, and what that costs at most: lines of a dry run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from pairkit.engines import plan_batches
from pairkit.engines.base import PlannedEngine
from pairkit.engines.generate import GenerateRecipe, no_progress
from pairkit.engines.pool import EnginePool
from pairkit.engines.recipe import CallSettings
from pairkit.engines.rehearsal import StoredCalls
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

    def engine(self, recipe: Any, name: str | None = None) -> PlannedEngine:
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
    # One model: a recipe with a pool of them is refused.
    block = recipe.generate if isinstance(recipe.generate, GenerateRecipe) else None
    generates = block is not None and has_batches(block)
    judges = [block for block in table.asking(recipe.rankings) if has_batches(block)]
    lines = []
    with ExitStack() as stack:
        calls = stack.enter_context(closing(StoredCalls(cache)))
        pool = _Planning(recipe.calls, calls, stack)
        sets = _sets(recipe, opened)
        if generates:
            sets = _generated(recipe, pool, sets)
        # The completions of other engines are not there before they are generated.
        waits = recipe.generate is not None and not generates
        rankers = [] if waits else [table.load(block, pool, recipe.seed) for block in judges]
        for part in sets:
            for ranker in rankers:
                ranker.score(part, no_progress)
        if block is not None and generates:
            lines += _described("generate", block.model, pool.planned[id(block)], recipe.calls)
        for judge in judges:
            name = f"rank.{name_of(judge)}"
            if waits:
                lines.append(f"batches of {name}: its questions follow the completions")
                continue
            lines += _described(name, pool.planned[id(judge)].name, pool.planned[id(judge)], recipe.calls)
            lines.append("  further questions follow the completions and verdicts that are not there yet")
        if calls.hits:
            lines.append(f"  {calls.hits:,} answers are in {cache}")
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
