"""The budget of calls to servers, shared by all processes of a cluster that make them.

An actor next to the driver reserves and counts, so that the sum over all processes never exceeds the budget,
also if one of them dies: what it had reserved then counts as spent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple
from uuid import uuid4

from pairkit.engines.openai.account import Tokens
from pairkit.engines.openai.run_budget import RunBudget
from pairkit.engines.openai.spending import Spending
from pairkit.engines.recipe import CallSettings
from pairkit.errors import Interrupted, PairkitError

# Seconds after the longest time of a request, when its process must be dead.
_GRACE = 60.0


class _Reservation(NamedTuple):
    spending: Spending
    open: AsyncExitStack
    expiry: asyncio.TimerHandle


class Ledger:
    """What the processes of a build have spent, by engine; an actor whose methods run in one loop.

    Raises `RecipeError` as `Spending` does.
    """

    def __init__(self, settings: CallSettings, models: Mapping[int, str]) -> None:
        budget = RunBudget(settings.budget)
        self._spending = {engine: Spending(settings, model, budget) for engine, model in models.items()}
        self._longest = settings.timeout + _GRACE
        self._reserved: dict[str, _Reservation] = {}
        self._waiting: set[str] = set()
        self._stopped = False

    async def reserve(self, token: str, engine: int, most: Tokens) -> PairkitError | None:
        """Reserve budget for one request under a new token; return why there is none."""
        spending, stack = self._spending[engine], AsyncExitStack()
        self._waiting.add(token)
        try:
            await stack.enter_async_context(spending.reserved(most))
        except PairkitError as error:
            self._waiting.discard(token)
            return error
        # Given up, or stopped, while it waited.
        if token not in self._waiting or self._stopped:
            self._waiting.discard(token)
            await stack.aclose()
            return Interrupted("stopped")
        self._waiting.discard(token)
        loop = asyncio.get_running_loop()
        expiry = loop.call_later(self._longest, lambda: loop.create_task(self.settle(token, most)))
        self._reserved[token] = _Reservation(spending, stack, expiry)
        return None

    async def settle(self, token: str, used: Tokens) -> None:
        """End a reservation, and count the tokens that its request has used."""
        self._waiting.discard(token)
        reservation = self._reserved.pop(token, None)
        if reservation is None:
            return  # settled before, or never granted
        reservation.expiry.cancel()
        reservation.spending.add(used)
        await reservation.open.aclose()

    async def stop(self) -> None:
        """Grant nothing more: who asks stores what is in flight, and ends."""
        self._stopped = True


class SharedAccount:
    """The account of one process: an `Account` that asks the ledger before each request."""

    def __init__(self, ledger: Any, engine: int, settings: CallSettings, model: str) -> None:
        self._ledger, self._engine = ledger, engine
        # Without the budget, which is the ledger's: this one only counts what this process has used.
        self._own = Spending(CallSettings(prices=settings.prices), model)
        self._used: dict[asyncio.Task[Any] | None, Tokens] = {}
        self.retries = 0

    @asynccontextmanager
    async def reserved(self, most: Tokens) -> AsyncIterator[None]:
        """Reserve budget for one HTTP request, for the duration of the block. Raises `BudgetError`."""
        token, task = uuid4().hex, asyncio.current_task()
        self._used[task] = Tokens(0, 0)
        try:
            refusal = await self._ledger.reserve.remote(token, self._engine, most)
            if refusal is not None:
                raise refusal
            self._own.requests += 1
            yield
        finally:
            # Not awaited, because the task may be canceled; also for a reservation that was not granted yet.
            self._ledger.settle.remote(token, self._used.pop(task))

    def add(self, tokens: Tokens) -> None:
        """Count the tokens that the request of the current task has used."""
        task = asyncio.current_task()
        before = self._used[task]
        self._used[task] = Tokens(before.prompt + tokens.prompt, before.completion + tokens.completion)
        self._own.add(tokens)

    def usage(self) -> Mapping[str, float]:
        """Return what this process has used."""
        return {**self._own.usage(), "retries": self.retries}
