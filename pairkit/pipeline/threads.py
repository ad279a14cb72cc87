"""Work in threads with results in order and bounded memory: Arrow and polars release the GIL."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

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
