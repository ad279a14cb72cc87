"""The budget of a run, which all models that it asks over HTTP spend together."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import RLock
from typing import NamedTuple, Protocol

from pairkit.engines.openai.account import NO_TOKENS, Tokens
from pairkit.engines.recipe import Budget
from pairkit.errors import BudgetError


class Committed(NamedTuple):
    """What a model has used and reserved: of requests made directly, and of those in batches."""

    direct: Tokens
    batched: Tokens


class Spender(Protocol):
    """The account of one model."""

    def committed(self) -> Committed: ...

    def cost(self, committed: Committed) -> float:
        """Return the price of these tokens, 0 without prices."""
        ...

    def usage(self) -> Mapping[str, float]: ...

    @property
    def holds(self) -> bool:
        """Whether budget is reserved for batches that have not ended."""
        ...


class RunBudget:
    """The bounds of `calls.budget` for the sum of all models of a run.

    The engine of each model has an event loop in a thread of its own: whoever reads or changes what is
    committed holds `lock`.

    Attributes:
        lock: of this object and of the accounts that it has.
        requests: made so far, those in flight and in batches included.
        in_flight: requests that are made directly and have not ended.
    """

    def __init__(self, bounds: Budget) -> None:
        self.bounds = bounds
        self.lock = RLock()
        self.requests = self.in_flight = 0
        self._spenders: list[Spender] = []
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def join(self, spender: Spender) -> None:
        """Count what an account spends from now on."""
        with self.lock:
            self._spenders.append(spender)

    @property
    def has_room(self) -> bool:
        """Whether one more request may be made."""
        return self.bounds.requests is None or self.requests < self.bounds.requests

    @property
    def holds(self) -> bool:
        """Whether budget is reserved for batches that have not ended."""
        return any(spender.holds for spender in self._spenders)

    def affordable(self, spender: Spender, further: Committed) -> bool:
        """Return whether an account can commit itself to further tokens."""
        if self.bounds.tokens is None and self.bounds.money is None:
            return True
        # With all that is in flight, because a limit that is passed when the answers come limits nothing.
        every = [each.committed() for each in self._spenders]
        total = sum(sum(each.direct) + sum(each.batched) for each in (*every, further))
        if self.bounds.tokens is not None and total > self.bounds.tokens:
            return False
        if self.bounds.money is None:
            return True
        costs = [each.cost(own) for each, own in zip(self._spenders, every, strict=True)]
        return sum(costs) + spender.cost(further) <= self.bounds.money

    @contextmanager
    def waiting(self) -> Iterator[asyncio.Event]:
        """Yield an event of the running loop that is set when a reservation ends."""
        waiter = asyncio.get_running_loop(), asyncio.Event()
        with self.lock:
            self._waiting.append(waiter)
        try:
            yield waiter[1]
        finally:
            with self.lock:
                self._waiting.remove(waiter)

    def wake(self) -> None:
        """Let those that wait look again."""
        with self.lock:
            for loop, event in self._waiting:
                loop.call_soon_threadsafe(event.set)

    def refusal(self, spender: Spender, most: Tokens) -> BudgetError:
        """Return the error of a request for which nothing is left, of at most these tokens."""
        if self.requests:
            return BudgetError(
                f"the budget of {self._bounds()} is spent ({_list(self._usage())}); raise calls.budget to "
                "continue"
            )
        cost = spender.cost(Committed(most, NO_TOKENS))
        price = f", at a cost of {cost:,.4f}" if "cost" in spender.usage() else ""
        return BudgetError(
            f"the budget of {self._bounds()} is too small for the first request, which may need "
            f"{sum(most):,} tokens{price}; nothing was spent: raise calls.budget"
        )

    def _usage(self) -> dict[str, float]:
        total: dict[str, float] = {}
        for spender in self._spenders:
            for name, number in spender.usage().items():
                total[name] = total.get(name, 0) + number
        return total

    def _bounds(self) -> str:
        bounds = self.bounds.model_dump(exclude_none=True)
        return ", ".join(f"{value:,} {name}" for name, value in bounds.items())


def _list(usage: Mapping[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:,.10g}" for name, value in usage.items())
