"""An actor next to the driver, which knows what the workers of a cluster ask for.

Workers ask for units by number and the driver keeps a unit until it has it back. So a worker or a node that
is lost takes nothing with it: its units are given to another one.
"""

from __future__ import annotations

import asyncio
from typing import Any

from pairkit.errors import PairkitError


class Feed:
    """The units that are ready, and which of `stages` stages have a model. All methods run in one loop."""

    def __init__(self, stages: int) -> None:
        self._units: dict[int, list[Any]] = {}
        self._end: int | None = None
        self._next = 0
        self._stages = stages
        self._opened: set[int] = set()
        self._error: PairkitError | None = None
        self._busy = 0
        self._changed = asyncio.Condition()

    async def add(self, number: int, content: list[Any]) -> None:
        """Add the next unit: a list of the reference to it, so that not the unit itself is sent here."""
        async with self._changed:
            self._units[number] = content
            self._next = number + 1
            self._changed.notify_all()

    async def end(self) -> None:
        """Note that no unit follows."""
        async with self._changed:
            self._end = self._next
            self._changed.notify_all()

    async def has(self, number: int) -> bool:
        """Wait until the unit is ready, and tell whether there is one with this number."""
        async with self._changed:
            await self._changed.wait_for(lambda: number < self._next or self._end is not None)
            return number < self._next

    async def unit(self, number: int) -> list[Any]:
        """Return the reference to a unit that `has` has announced; nothing for one that is done.

        A worker may be killed after its unit was delivered, and Ray then runs the task again.
        """
        return self._units.get(number, [])

    async def done(self, number: int) -> None:
        """Forget a unit that the driver has back."""
        del self._units[number]

    async def opened(self, stage: int, error: PairkitError | None) -> None:
        """Note that a process of a stage has its model, or cannot have it."""
        async with self._changed:
            self._opened.add(stage)
            self._error = self._error or error
            self._changed.notify_all()

    async def models(self) -> PairkitError | None:
        """Wait until every stage has a model, or one cannot have it; return that error.

        Before anything is generated, because a missing judge should not be noticed only when thousands of
        completions wait for it.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self._error or len(self._opened) == self._stages)
            return self._error

    async def began(self) -> None:
        """Note that a worker may have calls to a server in flight."""
        self._busy += 1

    async def stored(self) -> None:
        """Note that it has none any more, and has stored their answers."""
        async with self._changed:
            self._busy -= 1
            self._changed.notify_all()

    async def idle(self, seconds: float) -> bool:
        """Wait until no worker has calls in flight, at most this long."""
        try:
            async with self._changed, asyncio.timeout(seconds):
                await self._changed.wait_for(lambda: self._busy <= 0)
        except TimeoutError:
            return False
        return True
