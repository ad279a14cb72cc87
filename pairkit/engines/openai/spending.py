"""What calls to a server have cost, and whether another one can be afforded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple

from pairkit.engines.recipe import Budget, CallSettings, Price
from pairkit.errors import BudgetError, RecipeError


class Tokens(NamedTuple):
    """Of one HTTP request: what it may take at most, or what the server says that it took."""

    prompt: int
    completion: int


class Spending:
    """Counts of one run. Belongs to one event loop: nothing here is locked."""

    def __init__(self, settings: CallSettings, model: str) -> None:
        self._budget, self._price = settings.budget, settings.prices.get(model)
        if self._budget.money is not None and self._price is None:
            raise RecipeError(
                f"a budget of money needs the price of {model!r}: give "
                f"calls.prices.{model}.input and .output, of a million tokens"
            )
        self.requests = self.retries = 0
        self._prompt = self._completion = 0
        self._reserved: list[Tokens] = []
        self._settled = asyncio.Event()

    @asynccontextmanager
    async def reserved(self, most: Tokens) -> AsyncIterator[None]:
        """Room for one HTTP request of at most these tokens, kept for the block.

        Waits where only requests in flight stand in the way: they rarely take what they may. Raises
        `BudgetError` where nothing is in flight and the budget still has no room.
        """
        while not self._affordable(most):
            if not self._reserved:
                raise BudgetError(f"the budget of {_told(self._budget)} is spent ({_list(self.usage())})")
            self._settled.clear()
            await self._settled.wait()
        if self._budget.requests is not None and self.requests >= self._budget.requests:
            raise BudgetError(f"the budget of {_told(self._budget)} is spent ({_list(self.usage())})")
        self.requests += 1
        self._reserved.append(most)
        try:
            yield
        finally:
            self._reserved.remove(most)
            self._settled.set()

    def took(self, tokens: Tokens) -> None:
        """What a request has taken."""
        self._prompt += tokens.prompt
        self._completion += tokens.completion

    def usage(self) -> Mapping[str, float]:
        """Counts by name; `cost` where the price is known."""
        counts = {
            "requests": self.requests,
            "retries": self.retries,
            "prompt_tokens": self._prompt,
            "completion_tokens": self._completion,
        }
        if self._price is None:
            return counts
        return counts | {"cost": _cost(self._price, Tokens(self._prompt, self._completion))}

    def _affordable(self, most: Tokens) -> bool:
        flying = [*self._reserved, most]
        total = Tokens(
            self._prompt + sum(one.prompt for one in flying),
            self._completion + sum(one.completion for one in flying),
        )
        budget = self._budget
        if budget.tokens is not None and sum(total) > budget.tokens:
            return False
        return budget.money is None or self._price is None or _cost(self._price, total) <= budget.money


def _cost(price: Price, tokens: Tokens) -> float:
    return (price.input * tokens.prompt + price.output * tokens.completion) / 1e6


def _told(budget: Budget) -> str:
    bounds = budget.model_dump(exclude_none=True)
    return ", ".join(f"{value:,} {name}" for name, value in bounds.items())


def _list(usage: Mapping[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:,.10g}" for name, value in usage.items())
