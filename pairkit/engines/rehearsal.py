"""A rehearsal: which calls would be made and which are stored, without a model, a server or a written byte.

Whoever asks engines asks these instead, with the same requests, so that the keys of calls are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pairkit.engines import unloaded
from pairkit.engines.base import Call, Request, Result, Unloaded
from pairkit.engines.cache import Cache
from pairkit.engines.recipe import EngineRecipe


class StoredCalls(Cache):
    """A cache that is only read; what is put into it is forgotten with it.

    `found`: key of each call that was found -> the number of its requests.
    """

    def __init__(self, path: Path, *, retry_failed: bool = False) -> None:
        super().__init__(path, retry_failed=retry_failed, read_only=True)
        self.found: dict[bytes, int] = {}
        self._put: dict[bytes, tuple[Result, ...]] = {}

    def get(self, key: bytes) -> tuple[Result, ...] | None:
        if key in self._put or not self.exists:
            return self._put.get(key)
        results = super().get(key)
        if results is not None:
            self.found[key] = len(results)
        return results

    def put_all(self, answers: Iterable[tuple[bytes, Sequence[Result]]]) -> None:
        self._put.update((key, tuple(results)) for key, results in answers)

    @property
    def exists(self) -> bool:
        """Whether there is a file."""
        return self._open is not None

    def close(self) -> None:
        # Answers that were changed are not asked for again here.
        self.damaged = 0
        super().close()


class RehearsedEngine:
    """An engine that answers what is not stored by `expected`, and keeps what it was asked in `asked`.

    `stored`: how many requests the cache answered, for whoever counts them.
    """

    def __init__(self, name: str, engine: Unloaded, expected: Callable[[Request], Result]) -> None:
        self.name, self.expected = name, expected
        self.identity: Mapping[str, Any] = engine.identity
        self.asked: list[Request] = []
        self.stored = 0
        self._divide = engine.calls
        # By the identity of the call: its own requests may be token ids, and cannot be hashed.
        self._requests: dict[int, list[Request]] = {}
        self._submitted: list[tuple[int, Call]] = []

    def calls(self, requests: Sequence[Request]) -> list[Call]:
        calls = self._divide(requests)
        self._requests = {id(call): [requests[owner] for owner in call.owners] for call in calls}
        return calls

    def room(self) -> bool:
        return True

    def submit(self, number: int, call: Call) -> None:
        self._submitted.append((number, call))

    def collect(self) -> list[tuple[int, tuple[Result, ...]]]:
        results = []
        for number, call in self._submitted:
            requests = self._requests[id(call)]
            self.asked += requests
            results.append((number, tuple(map(self.expected, requests))))
        self._submitted = []
        return results

    def drain(self) -> list[tuple[int, tuple[Result, ...]]]:
        return []

    def usage(self) -> Mapping[str, float]:
        return {}

    def close(self) -> None:
        pass


def rehearsed(
    recipe: EngineRecipe, name: str, cache: StoredCalls, expected: Callable[[Request], Result]
) -> RehearsedEngine:
    """Open the rehearsal of a block's engine; `expected` is the result of a request that is not stored.

    Without a cache not even the model's files are looked at. Raises what opening the engine would raise for
    a model whose tokenizer cannot be loaded.
    """
    engine = unloaded(recipe) if cache.exists else Unloaded({"model": recipe.model}, _one_by_one)
    return RehearsedEngine(name, engine, expected)


def _one_by_one(requests: Sequence[Request]) -> list[Call]:
    return [Call((request,), (owner,)) for owner, request in enumerate(requests)]
