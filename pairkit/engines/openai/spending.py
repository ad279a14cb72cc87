"""What calls to one model have used, and whether the budget of the run allows another one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from pairkit.engines.openai.account import NO_TOKENS, Tokens
from pairkit.engines.openai.run_budget import Committed, RunBudget
from pairkit.engines.recipe import CallSettings, Price
from pairkit.errors import RecipeError


class Spending:
    """The consumption of one model in a run.

    Args:
        budget: what it shares with the other models of the run; None: it has that of `settings` alone.
    """

    def __init__(self, settings: CallSettings, model: str, budget: RunBudget | None = None) -> None:
        self._budget = RunBudget(settings.budget) if budget is None else budget
        self._price = settings.prices.get(model)
        if self._budget.bounds.money is not None and self._price is None:
            raise RecipeError(
                f"calls.budget.money needs the price of {model!r}: set "
                f"calls.prices.{model}.input and .output, per million tokens"
            )
        self.requests = self.retries = 0
        # Of requests in batches, whose price is another: those that are not answered yet, and the answers.
        self._share = settings.batches.price
        self._used = self._reserved = self._held = self._batched = NO_TOKENS
        self.batches = 0
        self._budget.join(self)

    @asynccontextmanager
    async def reserved(self, most: Tokens) -> AsyncIterator[None]:
        """Reserve budget for one HTTP request of at most these tokens, for the duration of the block.

        If only requests in flight stand in the way, wait for them, because they rarely use their maximum.
        Raises `BudgetError` if the budget does not suffice although nothing is in flight.
        """
        # In a loop, because several may wait for the same reservation to end.
        while not self._reserve(most):
            # Registered before it looks again: a reservation that ends in between would wake nobody.
            with self._budget.waiting() as settled:
                if self._reserve(most):
                    break
                await settled.wait()
        try:
            yield
        finally:
            # Only the reservation ends here: `add` counts what was used.
            with self._budget.lock:
                self._reserved = _difference(self._reserved, most)
                self._budget.in_flight -= 1
            self._budget.wake()

    def _reserve(self, most: Tokens) -> bool:
        """Reserve what a request may use, unless it has to wait. Raises `BudgetError` if it never can."""
        budget = self._budget
        with budget.lock:
            if not budget.has_room:
                raise budget.refusal(self, most)
            if not budget.affordable(self, Committed(most, NO_TOKENS)):
                if not budget.in_flight:
                    raise budget.refusal(self, most)
                return False
            # Counted when sent, because a try that fails is a request too.
            self._count_request()
            self._reserved = _sum(self._reserved, most)
            budget.in_flight += 1
            return True

    def add(self, tokens: Tokens) -> None:
        """Count the tokens that a request has used."""
        with self._budget.lock:
            self._used = _sum(self._used, tokens)

    async def hold(self, most: Tokens) -> bool:
        """Reserve budget for a request in a batch, of at most these tokens; return whether it suffices.

        Raises `BudgetError` if it never will: nothing is in flight or in a batch.
        """
        budget = self._budget
        with budget.lock:
            if not (budget.has_room and budget.affordable(self, Committed(NO_TOKENS, most))):
                if not (budget.in_flight or budget.holds):
                    raise budget.refusal(self, most)
                return False
            self._count_request()
            self._held = _sum(self._held, most)
            return True

    async def hold_again(self, most: Tokens) -> None:
        """Reserve what an earlier run has put into a batch."""
        with self._budget.lock:
            self._held = _sum(self._held, most)

    async def settle(self, most: Tokens, used: Tokens) -> None:
        """End the reservation of a batch, whose answers have used these tokens."""
        with self._budget.lock:
            self._held = _difference(self._held, most)
            self._batched = _sum(self._batched, used)
        self._budget.wake()

    @property
    def holds(self) -> bool:
        """Whether budget is reserved for batches that have not ended."""
        return any(self._held)

    def committed(self) -> Committed:
        """Return what was used and is reserved."""
        return Committed(_sum(self._used, self._reserved), _sum(self._batched, self._held))

    def cost(self, committed: Committed) -> float:
        """Return the price of these tokens, 0 without prices."""
        if self._price is None:
            return 0.0
        return _cost(self._price, committed.direct) + self._share * _cost(self._price, committed.batched)

    def usage(self) -> Mapping[str, float]:
        """Return counts by name, with `cost` if the price is known."""
        tokens = _sum(self._used, self._batched)
        counts: dict[str, float] = {
            "requests": self.requests,
            "retries": self.retries,
            "prompt_tokens": tokens.prompt,
            "completion_tokens": tokens.completion,
        }
        # Only where there are any, as most runs have none.
        if self.batches:
            counts["batches"] = self.batches
        if self._price is None:
            return counts
        return counts | {"cost": self.cost(Committed(self._used, self._batched))}

    def _count_request(self) -> None:
        self.requests += 1
        self._budget.requests += 1


def _sum(one: Tokens, other: Tokens) -> Tokens:
    return Tokens(one.prompt + other.prompt, one.completion + other.completion)


def _difference(one: Tokens, other: Tokens) -> Tokens:
    return Tokens(one.prompt - other.prompt, one.completion - other.completion)


def _cost(price: Price, tokens: Tokens) -> float:
    return (price.input * tokens.prompt + price.output * tokens.completion) / 1e6
