"""The threads of this process."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial

from pairkit.engines.cache import Cache
from pairkit.engines.pool import EnginePool
from pairkit.pipeline.batches.passes import Units, answer_in_batches
from pairkit.pipeline.executors.work import Work
from pairkit.pipeline.model_stages import ask_models
from pairkit.pipeline.stages import finish
from pairkit.pipeline.threads import ahead, mapped
from pairkit.pipeline.unit import FinishedUnit, Unit
from pairkit.progress import Advance


def default_workers() -> int:
    """Return one per CPU core of this process, at most four: the writer is then the bottleneck."""
    # Not cpu_count(): a container or taskset may allow fewer cores than the machine has.
    return min(4, len(os.sched_getaffinity(0)))


@contextmanager
def opened(work: Work, units: Units, *, workers: int) -> Iterator[Local]:
    """Open what models are asked with; engines and the cache are closed at the end.

    Calls that go into batches are answered first, which may take hours.
    """
    with ExitStack() as stack:
        # Only calls need it: a build without them creates no file for a cache.
        calls = Cache(work.cache, retry_failed=work.retry_failed) if work.asks else None
        if calls is not None:
            # Registered first and so closed last: engines end while the cache can still take their answers.
            stack.callback(calls.close)
        pool = EnginePool(work.recipe.calls, calls, stack)
        if work.recipe.calls.batch:
            answer_in_batches(units, work.recipe, work.keys, work.results, work.first, pool)
        yield Local(work, pool, workers)


class Local:
    """This process: `workers` units are worked on at a time."""

    def __init__(self, work: Work, pool: EnginePool, workers: int) -> None:
        self._work, self._pool, self._workers = work, pool, workers

    def finished(self, units: Iterable[Unit], advance: Advance) -> Generator[FinishedUnit]:
        """Yield each unit after the last stage, in order."""
        work, read = self._work, ahead(units, self._workers)
        # Closed by `closing` and in this order, because a generator left to the collector keeps its threads
        # alive while the error is reported; the innermost consumer goes first, so nobody waits for a closed
        # one.
        with (
            closing(read),
            closing(
                ask_models(read, work.recipe, work.keys, work.results, work.first, self._pool, advance)
            ) as answered_units,
            closing(mapped(partial(finish, recipe=work.recipe), answered_units, self._workers)) as results,
        ):
            yield from results

    def usage(self) -> dict[str, float]:
        return self._pool.usage()
