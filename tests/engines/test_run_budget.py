"""One budget for all models of a run, each with an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pairkit.engines.openai.account import NO_TOKENS, Tokens
from pairkit.engines.openai.run_budget import RunBudget
from pairkit.engines.openai.spending import Spending
from pairkit.engines.recipe import Budget, CallSettings, Price
from pairkit.errors import BudgetError, RecipeError

PRICES = {"dear": Price(input=10, output=100), "cheap": Price(input=1, output=2)}


def accounts(*models: str, **budget: float) -> list[Spending]:
    settings = CallSettings(budget=Budget(**budget), prices=PRICES)
    shared = RunBudget(settings.budget)
    return [Spending(settings, model, shared) for model in models]


async def spend(account: Spending, most: Tokens, used: Tokens, seconds: float = 0.0) -> None:
    async with account.reserved(most):
        await asyncio.sleep(seconds)
        account.add(used)


def until_spent(account: Spending, seed: int) -> list[str]:
    """Spend in a loop of this thread, several requests at a time, until nothing is left."""
    draw = random.Random(seed)

    async def work() -> None:
        while True:
            most = Tokens(draw.randint(1, 100), draw.randint(1, 200))
            await spend(account, most, Tokens(most.prompt, draw.randint(0, most.completion)), 0.0005)

    async def run() -> list[Any]:
        return await asyncio.gather(*(work() for _ in range(4)), return_exceptions=True)

    return [f"{type(end).__name__}: {end}" for end in asyncio.run(run())]


@pytest.mark.parametrize("budget", [{"requests": 50}, {"tokens": 9000}, {"money": 0.1}])
def test_the_sum_over_all_models_never_exceeds_the_budget(budget: dict[str, float]) -> None:
    models = accounts("dear", "cheap", "cheap", **budget)
    with ThreadPoolExecutor(len(models)) as threads:
        ends = [end for each in threads.map(until_spent, models, range(len(models))) for end in each]
    assert all(end.startswith("BudgetError: the budget of") for end in ends), ends
    usage = [each.usage() for each in models]
    spent = {
        "requests": sum(each["requests"] for each in usage),
        "tokens": sum(each["prompt_tokens"] + each["completion_tokens"] for each in usage),
        "money": sum(each["cost"] for each in usage),
    }
    for name, most in budget.items():
        assert 0.7 * most < spent[name] <= most
    # All of them took part.
    assert all(each["requests"] for each in usage)


def test_one_model_waits_for_the_requests_of_another_to_end() -> None:
    one, other = accounts("dear", "cheap", tokens=100)

    async def run() -> None:
        first = asyncio.ensure_future(spend(one, Tokens(50, 40), Tokens(5, 5), 0.02))
        await asyncio.sleep(0)
        await spend(other, Tokens(40, 40), Tokens(1, 1))
        assert first.done()

    asyncio.run(run())
    assert other.usage()["requests"] == 1


def test_a_model_that_is_given_up_while_it_waits_leaves_no_trace() -> None:
    one, other = accounts("dear", "cheap", tokens=100)

    async def run() -> None:
        first = asyncio.ensure_future(spend(one, Tokens(50, 40), Tokens(5, 5), 0.02))
        await asyncio.sleep(0)
        waiting = asyncio.ensure_future(spend(other, Tokens(40, 40), Tokens(1, 1)))
        await asyncio.sleep(0)
        waiting.cancel()
        await first

    asyncio.run(run())
    assert other.usage()["requests"] == 0
    # The loop is closed by now, and nobody wakes it.
    asyncio.run(spend(one, Tokens(1, 1), Tokens(1, 1)))


def test_batches_of_one_model_count_for_all() -> None:
    one, other = accounts("dear", "cheap", money=0.011)

    async def run() -> None:
        # Half of 100 tokens at 100 per million.
        assert await one.hold(Tokens(0, 100))
        assert await one.hold(Tokens(0, 100))
        assert not await one.hold(Tokens(0, 100))
        # The batch may use less than its most.
        assert not await other.hold(Tokens(0, 2000))
        await one.settle(Tokens(0, 200), Tokens(0, 20))
        assert await other.hold(Tokens(0, 2000))
        await other.settle(Tokens(0, 2000), NO_TOKENS)

    asyncio.run(run())
    assert one.usage()["cost"] == pytest.approx(0.001)


def test_the_error_counts_what_all_models_have_spent() -> None:
    one, other = accounts("dear", "cheap", requests=2)
    for each in (one, other):
        asyncio.run(spend(each, Tokens(10, 10), Tokens(3, 4)))
    with pytest.raises(BudgetError) as error:
        asyncio.run(spend(one, Tokens(1, 1), NO_TOKENS))
    assert str(error.value).startswith(
        "the budget of 2 requests is spent (requests 2, retries 0, prompt tokens 6, "
    )


def test_a_budget_of_money_needs_the_price_of_every_model() -> None:
    with pytest.raises(RecipeError, match=r"calls\.budget\.money needs the price of 'other'"):
        accounts("dear", "other", money=1)
