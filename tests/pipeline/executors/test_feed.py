"""What workers ask the driver's side for: units by number, models of other stages, calls in flight."""

from __future__ import annotations

import asyncio

from pairkit.errors import ModelError
from pairkit.pipeline.executors.ray.feed import Feed


def test_a_unit_is_announced_when_it_is_there_and_kept_until_it_is_done() -> None:
    async def run() -> None:
        feed = Feed(0)
        waiting = asyncio.ensure_future(feed.has(5))
        await asyncio.sleep(0)
        assert not waiting.done()
        await feed.add(5, ["reference"])
        assert await waiting
        # Twice, because the worker that had it may have been lost.
        assert await feed.unit(5) == await feed.unit(5) == ["reference"]
        after = asyncio.ensure_future(feed.has(6))
        await feed.end()
        assert not await after
        assert await feed.has(5)
        await feed.done(5)
        assert await feed.unit(5) == []

    asyncio.run(run())


def test_no_unit_at_all_is_an_end_too() -> None:
    async def run() -> None:
        feed = Feed(0)
        await feed.end()
        assert not await feed.has(0)

    asyncio.run(run())


def test_generation_waits_for_the_models_of_all_stages() -> None:
    async def run() -> None:
        feed = Feed(2)
        await feed.opened(0, None)
        waiting = asyncio.ensure_future(feed.models())
        await asyncio.sleep(0)
        assert not waiting.done()
        # A second process of the same stage says nothing about the other stage.
        await feed.opened(0, None)
        await asyncio.sleep(0)
        assert not waiting.done()
        await feed.opened(1, ModelError("no such judge"))
        assert isinstance(await waiting, ModelError)

    asyncio.run(run())


def test_the_end_waits_for_calls_in_flight_but_not_for_a_lost_worker() -> None:
    async def run() -> None:
        feed = Feed(1)
        await feed.began()
        waiting = asyncio.ensure_future(feed.idle(100))
        await asyncio.sleep(0)
        assert not waiting.done()
        await feed.stored()
        assert await waiting
        await feed.began()
        assert not await feed.idle(0.01)

    asyncio.run(run())
