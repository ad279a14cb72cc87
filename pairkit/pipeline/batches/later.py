"""A model of a pool that has no batches, while the others are asked in them: it is asked after them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pairkit.engines.base import PENDING, Call, Request, Result


class LaterEngine:
    """An engine whose answers are all `PENDING`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.identity: Mapping[str, Any] = {}

    def calls(self, requests: Sequence[Request]) -> list[Call]:
        return [Call((request,), (owner,), PENDING) for owner, request in enumerate(requests)]

    def room(self) -> bool:
        return True

    def submit(self, number: int, call: Call) -> None:
        raise AssertionError("its calls have a problem, so that none is submitted")

    def collect(self) -> list[tuple[int, tuple[Result, ...]]]:
        return []

    def drain(self) -> list[tuple[int, tuple[Result, ...]]]:
        return []

    def usage(self) -> Mapping[str, float]:
        return {}

    def close(self) -> None:
        pass
