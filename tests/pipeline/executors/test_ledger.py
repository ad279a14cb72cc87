"""One budget for several processes: the sum of what they reserve and use never exceeds it."""

from __future__ import annotations

import asyncio
import random
from asyncio import ensure_future
from types import SimpleNamespace
from typing import Any

import pytest

from pairkit.engines.openai.account import Tokens
from pairkit.engines.recipe import Budget, CallSettings
from pairkit.errors import BudgetError, Interrupted, RecipeError
from pairkit.pipeline.executors.ray import ledger
from pairkit.pipeline.executors.ray.ledger import Ledger, SharedAccount


def actor(real: Ledger) -> Any:
    """A ledger as its clients see it: methods are called with `.remote`, and run in the loop."""

    class Remote:
        def __getattr__(self, name: str) -> Any:
            method = getattr(real, name)
            # Shielded, because a caller that is canceled does not end the call in the actor.
            return SimpleNamespace(remote=lambda *words: asyncio.shield(ensure_future(method(*words))))

    return Remote()


def accounts(settings: CallSettings, count: int = 3) -> tuple[Ledger, list[SharedAccount]]:
    real = Ledger(settings, {0: "model"})
    return real, [SharedAccount(actor(real), 0, settings, "model") for _ in range(count)]


async def spend(account: SharedAccount, most: Tokens, used: Tokens, seconds: float = 0.0) -> None:
    async with account.reserved(most):
        await asyncio.sleep(seconds)
        account.add(used)


@pytest.mark.parametrize("budget", [{"requests": 37}, {"tokens": 5000}])
def test_the_sum_over_all_processes_never_exceeds_the_budget(budget: dict[str, int]) -> None:
    async def run() -> None:
        real, clients = accounts(CallSettings(budget=Budget(**budget)))
        draw = random.Random(0)

        async def work(account: SharedAccount) -> None:
            while True:
                most = Tokens(draw.randint(1, 100), draw.randint(1, 200))
                used = Tokens(most.prompt, draw.randint(0, most.completion))
                await spend(account, most, used, draw.random() / 1000)

        ends = await asyncio.gather(*map(work, clients * 4), return_exceptions=True)
        assert {type(end) for end in ends} == {BudgetError}
        await asyncio.sleep(0.01)
        usage = [client.usage() for client in clients]
        spent = {
            "requests": sum(each["requests"] for each in usage),
            "tokens": sum(each["prompt_tokens"] + each["completion_tokens"] for each in usage),
        }
        for name, most in budget.items():
            assert 0.8 * most < spent[name] <= most
        # What the ledger has counted is what they say.
        counted = real._spending[0].usage()
        assert counted["requests"] == spent["requests"]
        assert counted["prompt_tokens"] + counted["completion_tokens"] == spent["tokens"]
        assert not real._reserved

    asyncio.run(run())


def test_what_a_lost_process_had_reserved_counts_as_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "_GRACE", 0.0)

    async def run() -> None:
        real, (client, *_) = accounts(CallSettings(budget=Budget(tokens=100), timeout=0.01))
        assert await real.reserve("of a lost process", 0, Tokens(30, 30)) is None
        # It waits for the other's reservation to end, which then leaves too little.
        with pytest.raises(BudgetError, match="spent"):
            await spend(client, Tokens(30, 30), Tokens(1, 1))
        await spend(client, Tokens(20, 20), Tokens(1, 1))

    asyncio.run(run())


def test_a_request_that_was_given_up_while_it_waited_reserves_nothing() -> None:
    async def run() -> None:
        real, (client, other, _) = accounts(CallSettings(budget=Budget(tokens=100)))
        assert await real.reserve("first", 0, Tokens(50, 50)) is None
        waiting = ensure_future(spend(client, Tokens(50, 50), Tokens(50, 50)))
        await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.sleep(0.01)
        await real.settle("first", Tokens(0, 0))
        await spend(other, Tokens(50, 50), Tokens(1, 1))
        await asyncio.sleep(0.01)
        assert not real._reserved

    asyncio.run(run())


def test_nothing_is_granted_after_the_stop() -> None:
    async def run() -> None:
        real, (client, *_) = accounts(CallSettings(budget=Budget(tokens=100)))
        assert await real.reserve("in flight", 0, Tokens(50, 50)) is None
        waiting = ensure_future(spend(client, Tokens(40, 40), Tokens(1, 1)))
        await asyncio.sleep(0.01)
        await real.stop()
        await real.settle("in flight", Tokens(1, 1))
        for each in (waiting, spend(client, Tokens(1, 1), Tokens(1, 1))):
            with pytest.raises(Interrupted):
                await each
        assert client.usage()["requests"] == 0

    asyncio.run(run())


def test_a_budget_of_money_needs_a_price() -> None:
    with pytest.raises(RecipeError, match=r"calls\.budget\.money needs the price of 'model'"):
        Ledger(CallSettings(budget=Budget(money=1)), {0: "model"})
