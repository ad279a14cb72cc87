"""An engine with answers written by a test, in place of a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pairkit.engines.base import Call, Request, Result


class Scripted:
    """An engine that answers requests by `answer`, the last submitted first."""

    def __init__(self, answer: Callable[[Request], Result], name: str = "scripted") -> None:
        self.answer, self.name = answer, name
        self.identity: Mapping[str, Any] = {"engine": name}
        self.asked = 0
        self._submitted: list[tuple[int, Call]] = []

    def calls(self, requests: Sequence[Request]) -> list[Call]:
        return [Call((request,), (owner,)) for owner, request in enumerate(requests) if request.samplings]

    def room(self) -> bool:
        return len(self._submitted) < 7

    def submit(self, number: int, call: Call) -> None:
        self._submitted.append((number, call))

    def collect(self) -> list[tuple[int, tuple[Result, ...]]]:
        number, call = self._submitted.pop()
        self.asked += 1
        return [(number, (self.answer(call.requests[0]),))]

    def drain(self) -> list[tuple[int, tuple[Result, ...]]]:
        return []

    def usage(self) -> Mapping[str, float]:
        return {}

    def close(self) -> None:
        pass
