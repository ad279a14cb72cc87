"""An engine whose server may be unreachable: its requests then have a `Problem`, and the others continue."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pairkit.engines.base import UNREACHABLE, Call, Engine, Problem, Request, Result, Unloaded
from pairkit.errors import EngineError, FirstCallError
from pairkit.progress import warn

Done = tuple[int, tuple[Result, ...]]


class TolerantEngine:
    """An engine of a pool. `failure` is why its server cannot be asked, or None.

    Args:
        opens: opens the engine.
        unloaded: what is known of it without its server.
        failures: by name, of the engines of this run that cannot be asked: one of them is not tried again.
    """

    def __init__(
        self,
        name: str,
        opens: Callable[[], Engine],
        unloaded: Callable[[], Unloaded],
        failures: dict[str, EngineError],
    ) -> None:
        self.name = name
        self.failure: EngineError | None = failures.get(name)
        self._failures = failures
        self._engine: Engine | None = None
        self._in_flight: dict[int, Call] = {}
        self._ended: deque[Done] = deque()  # with the answers before the failure, and problems after it
        if self.failure is not None:
            self.identity: Mapping[str, Any] = unloaded().identity
            return
        try:
            self._engine = opens()
            self.identity = self._engine.identity
        except EngineError as error:
            self.identity = unloaded().identity
            self._fail(error)

    def calls(self, requests: Sequence[Request]) -> list[Call]:
        if self._engine is None or self.failure:
            return [Call((request,), (owner,), self._problem()) for owner, request in enumerate(requests)]
        return self._engine.calls(requests)

    def room(self) -> bool:
        return self._engine is None or self.failure is not None or self._engine.room()

    def submit(self, number: int, call: Call) -> None:
        if self._engine is None or self.failure:
            self._ended.append((number, (self._problem(),) * len(call.requests)))
            return
        self._in_flight[number] = call
        try:
            self._engine.submit(number, call)
        except FirstCallError as error:  # any other error is one of its batches, which stay at the server
            self._give_up(self._engine, error)

    def collect(self) -> list[Done]:
        if self._engine is not None and not self.failure:
            try:
                return self._forget(self._engine.collect())
            except EngineError as error:
                self._give_up(self._engine, error)
        ended, self._ended = list(self._ended), deque()
        return ended

    def drain(self) -> list[Done]:
        return [] if self._engine is None or self.failure else self._engine.drain()

    def usage(self) -> Mapping[str, float]:
        return {} if self._engine is None else self._engine.usage()

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()

    def _give_up(self, engine: Engine, error: EngineError) -> None:
        self._fail(error)
        # What the server has answered before is kept.
        self._ended += self._forget(engine.drain())
        self._ended += [
            (number, (self._problem(),) * len(call.requests)) for number, call in self._in_flight.items()
        ]
        self._in_flight = {}

    def _forget(self, answers: list[Done]) -> list[Done]:
        for number, _ in answers:
            self._in_flight.pop(number, None)
        return answers

    def _fail(self, error: EngineError) -> None:
        self.failure = self._failures[self.name] = error
        warn(
            f"{self.name}: {error}; the build continues with the other models; quarantine lists what this "
            "one did not complete; --retry-failed asks for it later"
        )

    def _problem(self) -> Problem:
        return Problem(UNREACHABLE, str(self.failure))
