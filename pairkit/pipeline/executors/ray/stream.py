"""A model in a thread of its own, which several calls use at the same time.

Ray calls an actor with one unit at a time, and an engine that waited for a unit's last answer before it saw
the next unit would be half idle. So the thread runs a stage on a stream of tables, and each call puts its
table into the stream.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from threading import Lock, Thread

import pyarrow as pa

from pairkit.schema import StageResult

Run = Callable[[Iterable[pa.Table | None]], Iterator[StageResult]]


class Stream:
    """Runs what `opens` returns, in the thread that opened it: connections to SQLite are bound to one.

    `opened` has a result when the model is loaded, or the error if it could not be.
    """

    def __init__(self, opens: Callable[[], Run]) -> None:
        self.opened: Future[None] = Future()
        self._queue: SimpleQueue[tuple[pa.Table, Future[StageResult]]] = SimpleQueue()
        self._waiting: deque[Future[StageResult]] = deque()
        self._failed: BaseException | None = None
        self._lock = Lock()  # so that no table comes into the queue after it was emptied
        # A daemon, because a process that ends must not wait for a model.
        Thread(target=self._run, args=(opens,), name="model", daemon=True).start()

    def __call__(self, sets: pa.Table) -> StageResult:
        """Return the result of one table; raise what has stopped the stream."""
        future: Future[StageResult] = Future()
        with self._lock:
            if self._failed is not None:
                raise self._failed
            self._queue.put((sets, future))
        return future.result()

    def _run(self, opens: Callable[[], Run]) -> None:
        try:
            run = opens()
            self.opened.set_result(None)
            for result in run(self._tables()):
                self._waiting.popleft().set_result(result)
        except BaseException as error:  # raised again by every call, in the thread that waits for it
            with self._lock:
                self._failed = error
            if not self.opened.done():
                self.opened.set_exception(error)
            while not self._queue.empty():
                self._waiting.append(self._queue.get()[1])
            for future in self._waiting:
                future.set_exception(error)

    def _tables(self) -> Iterator[pa.Table | None]:
        while True:
            try:
                # Wait only if nothing is in progress: otherwise there are answers to collect.
                sets, future = self._queue.get(block=not self._waiting)
            except Empty:
                yield None
                continue
            self._waiting.append(future)
            yield sets
