"""The engine of a server that speaks OpenAI's chat completions: vLLM's, a gateway, a vendor.

HTTP runs in an event loop in a thread of its own, `concurrency` requests at a time (client.py). A dead server
shows in consecutive failures, so calls count as failed only after another one has succeeded, or when no other
one is left.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from queue import SimpleQueue
from typing import Any, TypeVar

from pairkit.engines.base import Call, Problem, Request, Result, Unloaded
from pairkit.engines.openai.account import Account
from pairkit.engines.openai.client import FAILED, Client
from pairkit.engines.openai.connection import key_of
from pairkit.engines.openai.messages import sent
from pairkit.engines.recipe import CallSettings, EngineRecipe
from pairkit.errors import EngineError
from pairkit.models.chat.messages import PromptRefused

# Consecutive failed calls, without a success between them, after which the server counts as dead.
CONSECUTIVE_FAILURES = 20
# Calls accepted per call that may be in flight: the others replace those that pause between two tries.
QUEUE_FACTOR = 4
Done = tuple[int, tuple[Result, ...]]
Returned = TypeVar("Returned")


def open_openai(
    recipe: EngineRecipe, calls: CallSettings, *, name: str | None = None, account: Account | None = None
) -> OpenAIEngine:
    """Open the engine, after one request that shows whether the server is up and accepts the key.

    Raises `RecipeError` for a missing key or an invalid URL, `EngineError` for a server that is unreachable
    or refuses.
    """
    engine = OpenAIEngine(recipe, calls, name or recipe.model, key_of(recipe), account)
    try:
        engine.check_server()
    except BaseException:
        engine.close()
        raise
    return engine


class OpenAIEngine:
    """A connected server as an engine; created by `connect`."""

    def __init__(
        self,
        recipe: EngineRecipe,
        settings: CallSettings,
        name: str,
        key: str | None,
        account: Account | None = None,
    ) -> None:
        self.name = name
        self.identity = _identity(recipe)
        self._recipe, self._settings = recipe, settings
        self.client = Client(recipe, settings, key, account)
        # Finished calls from the loop. Results stay until `collect` is called again, because an interrupt may
        # come between returning them and storing them.
        self._done: SimpleQueue[int | Exception] = SimpleQueue()
        self._results: dict[int, tuple[Result, ...]] = {}
        self._handed: list[int] = []
        self._submitted = 0
        self._sent = self._ended = 0  # of all calls; the caller counts the sent, the loop the ended
        self._collecting = False  # the caller waits, so it submits nothing
        self._suspects: list[tuple[int, Problem]] = []  # failures since the last success
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="calls", daemon=True)
        self._thread.start()
        self.run(self.client.open())

    def run(self, coroutine: Coroutine[Any, Any, Returned]) -> Returned:
        """Run a coroutine in the loop's thread, wait for it, and return what it returns."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def calls(self, requests: Sequence[Request]) -> list[Call]:
        """Return one call per group of equal settings, or per completion if `many_per_call` is off."""
        return _calls(self._recipe, requests)

    def room(self) -> bool:
        return self._submitted < QUEUE_FACTOR * self._settings.concurrency

    def submit(self, number: int, call: Call) -> None:
        self._submitted += 1
        self._sent += 1
        # Not as a coroutine, whose result nobody asks for and which takes a future of each thread.
        self._loop.call_soon_threadsafe(self._start, number, call)

    def collect(self) -> list[Done]:
        for number in self._handed:
            self._results.pop(number, None)
        self._handed = []
        if not self._submitted:
            return []
        self._collecting = True
        self._loop.call_soon_threadsafe(self._release_last)
        items = [self._done.get()]
        self._collecting = False
        while not self._done.empty():
            items.append(self._done.get())
        for item in items:
            if isinstance(item, Exception):
                raise item
        self._handed = [item for item in items if isinstance(item, int)]
        self._submitted -= len(self._handed)
        return [(number, self._results[number]) for number in self._handed]

    def drain(self) -> list[Done]:
        """Return results that may not have been stored, and await the answers to calls in flight.

        Calls that still wait for their turn are canceled.
        """
        self.run(self._wind_down())
        results, self._results = self._results, {}
        return list(results.items())

    def usage(self) -> Mapping[str, float]:
        return self.client.spending.usage()

    def close(self) -> None:
        if self._thread.is_alive():
            self.run(self._end())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def check_server(self) -> None:
        """Ask the server for its models; see `Client.check_server`."""
        self.run(self.client.check_server())

    def _start(self, number: int, call: Call) -> None:
        task = self._loop.create_task(self._make(number, call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _make(self, number: int, call: Call) -> None:
        (request,) = call.requests
        try:
            outcome = await self.client.complete(request)
        except Exception as error:  # raised again in the thread that collects
            self._done.put(error)
            return
        finally:
            self._ended += 1
        if not isinstance(outcome, Problem):
            self._release()
            self._finish(number, outcome)
        elif outcome.reason == FAILED or not self.client.succeeded:
            self._suspects.append((number, outcome))
            self._judge(outcome)
        else:
            self._finish(number, outcome)

    def _judge(self, last: Problem) -> None:
        """Stop everything after too many consecutive failures; if no call is left, count them as failed."""
        bound = min(CONSECUTIVE_FAILURES, QUEUE_FACTOR * self._settings.concurrency)
        if len(self._suspects) >= bound:
            where = self._recipe.base_url
            self._done.put(
                EngineError(
                    f"{where}: {bound} consecutive calls failed; check the server, then run the same command "
                    f"again (the last: {last.detail})"
                )
            )
        else:
            self._release_last()

    def _release_last(self) -> None:
        """Count calls as failed if no later call can succeed any more."""
        if self._collecting and self._ended == self._sent:
            self._release()

    def _release(self) -> None:
        for number, problem in self._suspects:
            self._finish(number, problem)
        self._suspects = []

    def _finish(self, number: int, result: Result) -> None:
        self._results[number] = (result,)
        self._done.put(number)

    async def _wind_down(self) -> None:
        # Requests in flight are paid for in any case, and so are completions of requests that miss some.
        for task in self._tasks - self.client.sending - self.client.begun:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self.client.close()


def unloaded_openai(recipe: EngineRecipe) -> Unloaded:
    """Return what is known of the engine without asking its server."""
    return Unloaded(_identity(recipe), partial(_calls, recipe))


def _identity(recipe: EngineRecipe) -> dict[str, Any]:
    identity = {"engine": "openai", "model": recipe.model, "extra_body": recipe.extra_body}
    # Only what is set, so that the answers to a recipe without it stay those in the cache.
    if template := recipe.template.model_dump(exclude_defaults=True):  # type: ignore[union-attr]
        identity["template"] = template
    return identity


def _calls(recipe: EngineRecipe, requests: Sequence[Request]) -> list[Call]:
    # A field `n` that is taken out asks for one completion.
    many = recipe.many_per_call and "n" not in recipe.extra_body
    calls = []
    for owner, request in enumerate(requests):
        try:
            sent(recipe, request)
        # Found before anything is sent, because it costs this set and no other.
        except PromptRefused as error:
            calls.append(Call((request,), (owner,), Problem(error.reason, str(error))))
            continue
        # Seeds differ between samples, but a call sends one: see `chat_api.body`.
        groups = groupby(request.samplings, lambda sampling: sampling._replace(seed=0))
        for _, group in groups:
            equal = tuple(group)
            parts = [equal] if many else [(sampling,) for sampling in equal]
            calls += [Call((replace(request, samplings=part),), (owner,)) for part in parts]
    return calls
