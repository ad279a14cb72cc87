"""The cost of calls to a server, and whether the budget allows another one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from pairkit.engines.openai.account import NO_TOKENS, Tokens
from pairkit.engines.recipe import CallSettings, Price
from pairkit.errors import BudgetError, RecipeError


class Spending:
    """The consumption of one run. Used from one event loop only, because nothing here is locked."""

    def __init__(self, settings: CallSettings, model: str) -> None:
        self._budget, self._price = settings.budget, settings.prices.get(model)
        if self._budget.money is not None and self._price is None:
            raise RecipeError(
                f"calls.budget.money needs the price of {model!r}: set "
                f"calls.prices.{model}.input and .output, per million tokens"
            )
        self.requests = self.retries = 0
        self._prompt = self._completion = 0
        self._reserved: list[Tokens] = []
        # Of requests in batches, whose price is another: those that are not answered yet, and the answers.
        self._share = settings.batches.price
        self._held = self._batched = NO_TOKENS
        self.batches = 0
        self._settled = asyncio.Event()

    @asynccontextmanager
    async def reserved(self, most: Tokens) -> AsyncIterator[None]:
        """Reserve budget for one HTTP request of at most these tokens, for the duration of the block.

        If only requests in flight stand in the way, wait for them, because they rarely use their maximum.
        Raises `BudgetError` if the budget does not suffice although nothing is in flight.
        """
        # In a loop, because several may wait for the same reservation to end.
        while not self._affordable(most):
            if not self._reserved:
                raise self._spent() if self.requests else self._too_small(most)
            self._settled.clear()
            await self._settled.wait()
        # Asked after the wait, because others may have sent theirs meanwhile.
        if self._budget.requests is not None and self.requests >= self._budget.requests:
            raise self._spent()
        # Counted when sent, because a try that fails is a request too.
        self.requests += 1
        self._reserved.append(most)
        try:
            yield
        finally:
            # Only the reservation ends here: `add` counts what was used.
            self._reserved.remove(most)
            self._settled.set()

    def add(self, tokens: Tokens) -> None:
        """Count the tokens that a request has used."""
        self._prompt += tokens.prompt
        self._completion += tokens.completion

    async def hold(self, most: Tokens) -> bool:
        """Reserve budget for a request in a batch, of at most these tokens; return whether it suffices.

        Raises `BudgetError` if it never will: nothing is in flight or in a batch.
        """
        spent = self._budget.requests is not None and self.requests >= self._budget.requests
        if spent or not self._affordable(most, in_batch=True):
            if not (self._reserved or any(self._held)):
                raise self._spent() if self.requests else self._too_small(most)
            return False
        self.requests += 1
        self._held = _sum(self._held, most)
        return True

    async def hold_again(self, most: Tokens) -> None:
        """Reserve what an earlier run has put into a batch."""
        self._held = _sum(self._held, most)

    async def settle(self, most: Tokens, used: Tokens) -> None:
        """End the reservation of a batch, whose answers have used these tokens."""
        self._held = Tokens(self._held.prompt - most.prompt, self._held.completion - most.completion)
        self._batched = _sum(self._batched, used)
        self._settled.set()

    def usage(self) -> Mapping[str, float]:
        """Return counts by name, with `cost` if the price is known."""
        tokens = _sum(Tokens(self._prompt, self._completion), self._batched)
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
        direct = _cost(self._price, Tokens(self._prompt, self._completion))
        return counts | {"cost": direct + self._share * _cost(self._price, self._batched)}

    def _spent(self) -> BudgetError:
        return BudgetError(
            f"the budget of {self._bounds()} is spent ({_list(self.usage())}); raise calls.budget to continue"
        )

    def _too_small(self, most: Tokens) -> BudgetError:
        cost = "" if self._price is None else f", at a cost of {_cost(self._price, most):,.4f}"
        return BudgetError(
            f"the budget of {self._bounds()} is too small for the first request, which may need "
            f"{sum(most):,} tokens{cost}; nothing was spent: raise calls.budget"
        )

    def _bounds(self) -> str:
        bounds = self._budget.model_dump(exclude_none=True)
        return ", ".join(f"{value:,} {name}" for name, value in bounds.items())

    def _affordable(self, most: Tokens, *, in_batch: bool = False) -> bool:
        budget = self._budget
        if budget.tokens is None and (budget.money is None or self._price is None):
            return True
        # With all that is in flight, because a limit that is passed when the answers come limits nothing.
        direct = _sum(Tokens(self._prompt, self._completion), *self._reserved)
        batched = _sum(self._batched, self._held)
        direct, batched = (direct, _sum(batched, most)) if in_batch else (_sum(direct, most), batched)
        if budget.tokens is not None and sum(direct) + sum(batched) > budget.tokens:
            return False
        if budget.money is None or self._price is None:
            return True
        return _cost(self._price, direct) + self._share * _cost(self._price, batched) <= budget.money


def _sum(*several: Tokens) -> Tokens:
    return Tokens(sum(tokens.prompt for tokens in several), sum(tokens.completion for tokens in several))


def _cost(price: Price, tokens: Tokens) -> float:
    return (price.input * tokens.prompt + price.output * tokens.completion) / 1e6


def _list(usage: Mapping[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:,.10g}" for name, value in usage.items())
