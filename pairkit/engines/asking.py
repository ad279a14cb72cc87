"""Sending requests to an engine, and taking from the cache the results of calls that were made before.

`Asking` keeps the engine busy: requests are added while it has room, and results are returned as they are
ready, so that no request waits for the slowest of the others. `complete` is for callers that have all their
requests at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, NamedTuple

from pairkit.engines.base import PENDING, UNREACHABLE, Call, Completion, Engine, Problem, Request, Result
from pairkit.engines.cache import Cache, call_key

# Numbers of calls. Never used twice, because an engine may still hold a call of an earlier `Asking`.
_NUMBERS = count()
# Requests in, results in the same order out.
Ask = Callable[[Sequence[Request]], list[Result]]


class _Sent(NamedTuple):
    """A call, the (request number, part) of each of its requests, and the call's key in the cache."""

    call: Call
    places: tuple[tuple[int, int], ...]
    key: bytes = b""


class Asking:
    """Requests in progress. As a context manager it still stores calls in flight if the block fails."""

    def __init__(self, engine: Engine, cache: Cache | None = None) -> None:
        self.engine, self.cache = engine, cache
        self._parts: dict[int, list[Result | None]] = {}  # by request that has no result yet
        self._waiting: deque[_Sent] = deque()
        self._in_flight: dict[int, _Sent] = {}
        self._ready: list[tuple[int, Result]] = []
        self._requests = 0

    def __enter__(self) -> Asking:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        """Await and store the calls that are already paid for, after an interrupt or a spent budget."""
        # GeneratorExit: the consumer stopped on purpose, so there is nothing to wait for.
        if kind is None or kind is GeneratorExit or self.cache is None:
            return
        drained = (each for each in self.engine.drain() if each[0] in self._in_flight)
        self.cache.put_all(
            (self._in_flight[number].key, results) for number, results in drained if PENDING not in results
        )

    @property
    def open(self) -> int:
        """The number of requests without a result."""
        return len(self._parts)

    def room(self) -> bool:
        """Return whether more requests should be added now."""
        self._submit()
        return not self._waiting and self.engine.room()

    def add(self, requests: Sequence[Request]) -> range:
        """Add requests; return the numbers under which `results` will return theirs, in order."""
        numbers = range(self._requests, self._requests + len(requests))
        self._requests = numbers.stop
        self._parts |= {number: [] for number in numbers}
        for call in self.engine.calls(requests):
            places = []
            for owner in call.owners:
                parts = self._parts[numbers[owner]]
                places.append((numbers[owner], len(parts)))
                parts.append(None)
            self._waiting.append(_Sent(call, tuple(places)))
        for number in numbers:
            if not self._parts[number]:  # no completion was requested
                self._finish(number)
        return numbers

    def results(self) -> list[tuple[int, Result]]:
        """Return numbers and results of finished requests; wait until there is one; [] if none is open."""
        while self._parts and not self._ready:
            self._submit()
            if not self._ready:
                self._settle(self.engine.collect())
        ready, self._ready = self._ready, []
        return ready

    def _submit(self) -> None:
        """Submit calls while the engine has room; results from the cache are returned first."""
        # One answer from the cache at a time, because a cache that has all of them would fill the memory.
        while self._waiting and not self._ready and self.engine.room():
            self._send(self._waiting.popleft())

    def _send(self, sent: _Sent) -> None:
        call = sent.call
        # Not stored, because finding the problem again costs nothing.
        if call.problem is not None:
            self._place(sent, (call.problem,) * len(call.requests))
            return
        if self.cache is not None:
            sent = sent._replace(key=call_key(self.engine.identity, call))
            cached = self.cache.get(sent.key)
            if cached is not None:
                self._place(sent, cached)
                return
        number = next(_NUMBERS)
        self._in_flight[number] = sent
        self.engine.submit(number, call)

    def _settle(self, answers: Sequence[tuple[int, tuple[Result, ...]]]) -> None:
        if self.cache is not None:
            # Stored before they are forgotten here: an interrupt between the two leaves them to `__exit__`.
            self.cache.put_all(
                (self._in_flight[number].key, results)
                for number, results in answers
                # What is in a batch has no result yet.
                if PENDING not in results and not any(map(_unreachable, results))
            )
        for number, results in answers:
            self._place(self._in_flight.pop(number), results)

    def _place(self, sent: _Sent, results: Sequence[Result]) -> None:
        for (number, part), result in zip(sent.places, results, strict=True):
            parts = self._parts[number]
            parts[part] = result
            if all(part_result is not None for part_result in parts):
                self._finish(number)

    def _finish(self, number: int) -> None:
        """Join the parts of a request in order; one problem makes the whole request a problem."""
        completions: list[Completion] = []
        result: Result | None = None
        for part in self._parts.pop(number):
            if isinstance(part, Problem):
                result = part
                break
            completions += part or ()
        self._ready.append((number, tuple(completions) if result is None else result))


def _unreachable(result: Result) -> bool:
    return isinstance(result, Problem) and result.reason == UNREACHABLE


def complete(
    engine: Engine,
    requests: Sequence[Request],
    cache: Cache | None = None,
    on_results: Callable[[Sequence[int]], None] | None = None,
) -> list[Result]:
    """Return the results of all requests, in order; `on_results` gets the numbers of each batch of them."""
    results: dict[int, Result] = {}
    with Asking(engine, cache) as asking:
        asking.add(requests)
        while ready := asking.results():
            results |= dict(ready)
            if on_results is not None:
                on_results([number for number, _ in ready])
    return [results[number] for number in range(len(requests))]
