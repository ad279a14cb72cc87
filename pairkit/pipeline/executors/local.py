"""The threads of this process, with results in order and bounded memory: Arrow and polars release the GIL."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from contextvars import copy_context
from functools import partial
from typing import TypeVar

from pairkit.engines.cache import Cache
from pairkit.engines.pool import EnginePool
from pairkit.pipeline.executors.work import Work
from pairkit.pipeline.model_stages import ask_models
from pairkit.pipeline.stages import finish
from pairkit.pipeline.unit import FinishedUnit, Unit
from pairkit.progress import Advance

Item = TypeVar("Item")
Result = TypeVar("Result")
_END = object()


def ahead(items: Iterable[Item], count: int) -> Generator[Item]:
    """Yield the same items, made in a thread of their own, at most `count` of them in advance."""
    iterator = iter(items)
    # One thread, because a generator can run in one at a time and its order is that of the units.
    pool = ThreadPoolExecutor(1, thread_name_prefix="read")
    try:
        # A value for the end, because a future cannot carry a StopIteration into a generator.
        waiting = deque(pool.submit(next, iterator, _END) for _ in range(count))
        while (item := waiting.popleft().result()) is not _END:
            waiting.append(pool.submit(next, iterator, _END))
            yield item  # type: ignore[misc]
    finally:
        pool.shutdown(cancel_futures=True)


def mapped(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Generator[Result]:
    """Yield `function` of each item, in order, with `workers` of them computed at a time."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="stage")
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            # In a copy of the context, which holds whose code may run.
            waiting.append(pool.submit(copy_context().run, function, item))
            # One more than workers, so that they have work while the first result is taken.
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def default_workers() -> int:
    """Return one per CPU core of this process, at most four: the writer is then the bottleneck."""
    # Not cpu_count(): a container or taskset may allow fewer cores than the machine has.
    return min(4, len(os.sched_getaffinity(0)))


@contextmanager
def opened(work: Work, *, workers: int) -> Iterator[Local]:
    """Open what models are asked with; engines and the cache are closed at the end."""
    with ExitStack() as stack:
        # Only calls need it: a build without them creates no file for a cache.
        calls = Cache(work.cache, retry_failed=work.retry_failed) if work.asks else None
        if calls is not None:
            # Registered first and so closed last: engines end while the cache can still take their answers.
            stack.callback(calls.close)
        yield Local(work, EnginePool(work.recipe.calls, calls, stack), workers)


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
            ) as asked,
            closing(mapped(partial(finish, recipe=work.recipe), asked, self._workers)) as done,
        ):
            yield from done

    def usage(self) -> dict[str, float]:
        return self._pool.usage()
