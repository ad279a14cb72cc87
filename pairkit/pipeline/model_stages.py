"""The stages that ask a model: completions and scores, each unit kept on disk until its shard is closed.

What a model has answered is the dearest part of a build, and a shard may hold many units: so a build that
stopped asks again for nothing but the units it was at, and what an engine has given for those is in the
cache of calls. Completions stream through the units: the engine is given the next unit's requests before
the last answer of this one is in. Rankers then score a unit at a time, in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path

import pyarrow as pa

from pairkit.engines.generate import Wanted, generated
from pairkit.engines.pool import EnginePool
from pairkit.pipeline import unit_store
from pairkit.pipeline.recipe import BuildRecipe
from pairkit.pipeline.unit import Unit
from pairkit.progress import Advance
from pairkit.rankers import table
from pairkit.rankers.base import Ranker
from pairkit.rankers.named import keep_own_order


def asked(
    units: Iterable[Unit], recipe: BuildRecipe, folder: Path, first: int, pool: EnginePool, advance: Advance
) -> Generator[Unit]:
    """Each unit with what models have said to it; as it is where the recipe asks none.

    The first unit has the number `first`. Models are loaded when there is a unit that is not in `folder`
    yet, and then stay for all. Raises `ModelError`, `EngineError`, `BudgetError`, `MissingExtraError`.
    """
    blocks = table.asking(recipe.rankings)
    if recipe.generate is None and not blocks:
        yield from units
        return
    rest, number = iter(units), first
    while (kept := unit_store.read(folder, number)) is not None:
        unit = next(rest, None)
        if unit is None:
            return
        yield _with(unit, kept)
        number += 1
    unit = next(rest, None)
    if unit is None:
        return
    # First of all: a judge that is not there should not show when thousands of completions wait for it.
    loaded = [table.load(block, pool, recipe.seed) for block in blocks]
    live = _generated(chain([unit], rest), recipe, pool, advance)
    with closing(live):
        for unit, outcome in live:
            for ranker in loaded:
                _score(outcome, ranker, pool, advance)
            unit_store.write(folder, number, outcome)
            number += 1
            yield _with(unit, outcome)


def _generated(
    units: Iterator[Unit], recipe: BuildRecipe, pool: EnginePool, advance: Advance
) -> Generator[tuple[Unit, unit_store.Outcome]]:
    """Units with completions; a recipe without `generate` leaves those of the source."""
    if recipe.generate is None:
        for unit in units:
            yield unit, unit_store.Outcome(unit.sets)
        return
    flying: deque[Unit] = deque()

    def tables() -> Iterator[pa.Table]:
        for unit in units:
            flying.append(unit)
            yield unit.sets

    done = 0

    def count(completions: int = 1, /, note: str = "") -> None:
        nonlocal done
        done += completions
        advance(1, note=", ".join(part for part in (f"{done:,} completions", pool.note()) if part))

    engine = pool.engine(recipe.generate)
    stream = generated(tables(), engine, wanted(recipe), cache=pool.cache, advance=count)
    with closing(stream):
        for one in stream:
            outcome = unit_store.Outcome(one.sets)
            outcome.add("generate", one.quarantine, one.counts)
            unit = flying.popleft()
            yield unit._replace(shown=unit.sets.num_rows), outcome


def wanted(recipe: BuildRecipe) -> Wanted:
    """What a recipe asks of its engine for each set."""
    block = recipe.generate
    assert block is not None
    return Wanted(block.samples, block.max_tokens, recipe.seed, block.keep_source, block.truncated)


def _score(outcome: unit_store.Outcome, ranker: Ranker, pool: EnginePool, advance: Advance) -> None:
    """Adds a ranker's named scores; rank and score stay those of before till `order` decides."""
    done = 0

    def count(completions: int = 1, /, note: str = "") -> None:
        nonlocal done
        done += completions
        parts = (f"{ranker.name}: {done:,} completions", note, pool.note())
        advance(0, note=", ".join(part for part in parts if part))

    scored = ranker.score(outcome.sets, count)
    outcome.sets = keep_own_order(scored.sets, outcome.sets)
    outcome.verdicts = pa.concat_tables([outcome.verdicts, scored.verdicts])
    outcome.add("rank", scored.quarantine, {f"{ranker.name}_{k}": v for k, v in scored.counts.items()})


def _with(unit: Unit, outcome: unit_store.Outcome) -> Unit:
    return unit._replace(
        sets=outcome.sets,
        quarantine=pa.concat_tables([unit.quarantine, outcome.quarantine]),
        verdicts=outcome.verdicts,
        counts=unit.counts | outcome.counts,
    )
