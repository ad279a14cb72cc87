"""Work in threads with results in order and bounded memory: Arrow and polars release the GIL."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
_END = object()


def ahead(items: Iterable[Item], count: int) -> Generator[Item]:
    """Yield the same items, made in a thread of their own, at most `count` of them in advance."""
    iterator = iter(items)
    pool = ThreadPoolExecutor(1, thread_name_prefix="read")
    try:
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
            waiting.append(pool.submit(function, item))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
