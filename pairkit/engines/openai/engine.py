"""The engine of a server that speaks OpenAI's chat completions: vLLM's, a gateway, a vendor.

HTTP runs in an event loop in a thread of its own, `concurrency` requests at a time. Temporary failures (429,
5xx, a timeout, a broken connection, an incomplete answer) are retried after a jittered pause that doubles, or
that the server names; what still fails is a `Problem` of that request. Failures that every request would
share (a wrong key, an unknown model, a dead server) stop the engine. A dead server shows in consecutive
failures, so calls count as failed only after another one has succeeded.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections.abc import Mapping, Sequence
from itertools import groupby
from queue import SimpleQueue

import aiohttp

from pairkit.engines.base import Call, Problem, Request, Result
from pairkit.engines.openai import chat_api
from pairkit.engines.openai.chat_api import Fault, Parsed
from pairkit.engines.openai.connection import key_of, proxy, session
from pairkit.engines.openai.spending import Spending
from pairkit.engines.recipe import CallSettings, EngineRecipe
from pairkit.errors import EngineError, RecipeError

# Consecutive failed calls, without a success between them, after which the server counts as dead.
CONSECUTIVE_FAILURES = 20
# Calls accepted per call that may be in flight: the others replace those that pause between two tries.
QUEUE_FACTOR = 4
FAILED = "endpoint_failed"
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0  # seconds between two tries, before the jitter
Done = tuple[int, tuple[Result, ...]]


def connect(recipe: EngineRecipe, settings: CallSettings, *, name: str | None = None) -> OpenAIEngine:
    """Open the engine, after one request that shows whether the server is up and accepts the key.

    Raises `RecipeError` for a missing key or an invalid URL, `EngineError` for a server that is unreachable
    or refuses.
    """
    engine = OpenAIEngine(recipe, settings, name or recipe.model, key_of(recipe))
    try:
        engine.check_server()
    except BaseException:
        engine.close()
        raise
    return engine


class OpenAIEngine:
    """A connected server as an engine; created by `connect`."""

    def __init__(self, recipe: EngineRecipe, settings: CallSettings, name: str, key: str | None) -> None:
        self.name = name
        self.identity = {"engine": "openai", "model": recipe.model, "extra_body": recipe.extra_body}
        self._recipe, self._settings, self._key = recipe, settings, key
        self._spending = Spending(settings, recipe.model)
        # Finished calls from the loop. Results stay until `collect` is called again, because an interrupt may
        # come between returning them and storing them.
        self._done: SimpleQueue[int | Exception] = SimpleQueue()
        self._results: dict[int, tuple[Result, ...]] = {}
        self._handed: list[int] = []
        self._submitted = 0
        self._sent = self._ended = 0  # of all calls; the caller counts the sent, the loop the ended
        self._collecting = False  # the caller waits, so it submits nothing
        self._succeeded = False
        self._suspects: list[tuple[int, Problem]] = []  # failures since the last success
        self._models: list[str] = []
        self._proxy = proxy(recipe.base_url)
        self._tasks: set[asyncio.Task[None]] = set()
        self._sending: set[asyncio.Task[None] | None] = set()
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="calls", daemon=True)
        self._thread.start()
        self._session = asyncio.run_coroutine_threadsafe(session(settings, key), self._loop).result()

    def calls(self, requests: Sequence[Request]) -> list[Call]:
        """Return one call per group of equal settings, or per completion if `many_per_call` is off."""
        calls = []
        for owner, request in enumerate(requests):
            groups = groupby(request.samplings, lambda sampling: sampling._replace(seed=0))
            for _, group in groups:
                equal = tuple(group)
                parts = [equal] if self._recipe.many_per_call else [(sampling,) for sampling in equal]
                calls += [Call((Request(request.prompt, part),), (owner,)) for part in parts]
        return calls

    def room(self) -> bool:
        return self._submitted < QUEUE_FACTOR * self._settings.concurrency

    def submit(self, number: int, call: Call) -> None:
        self._submitted += 1
        self._sent += 1
        asyncio.run_coroutine_threadsafe(self._start(number, call), self._loop)

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

        Calls that still wait for their turn are cancelled.
        """
        asyncio.run_coroutine_threadsafe(self._wind_down(), self._loop).result()
        results, self._results = self._results, {}
        return list(results.items())

    def usage(self) -> Mapping[str, float]:
        return self._spending.usage()

    def close(self) -> None:
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def check_server(self) -> None:
        """List the server's models, which not every server supports. Raises `EngineError`."""
        asyncio.run_coroutine_threadsafe(self._check_server(), self._loop).result()

    async def _check_server(self) -> None:
        try:
            status, content, _ = await self._http("GET", "models")
        except (aiohttp.InvalidURL, ValueError) as error:
            raise RecipeError(f"base_url {self._recipe.base_url!r} is not a URL: {error}") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise EngineError(f"{self._recipe.base_url} cannot be reached: {_describe(error)}") from error
        if status in (401, 403):
            raise self._refused(status, content)
        if status == 200:
            self._models = chat_api.model_names(content)

    async def _http(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes, str | None]:
        """Return status, content and Retry-After. No redirect is followed, because it would get the key."""
        url = f"{self._recipe.base_url.rstrip('/')}/{path}"
        headers = {"Content-Type": "application/json"} if body is not None else None
        async with self._session.request(
            method, url, data=body, headers=headers, allow_redirects=False, proxy=self._proxy
        ) as answer:
            return answer.status, await answer.read(), answer.headers.get("Retry-After")

    async def _start(self, number: int, call: Call) -> None:
        task = asyncio.ensure_future(self._make(number, call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _make(self, number: int, call: Call) -> None:
        (request,) = call.requests
        try:
            result = await self._answer(request)
        except Exception as error:  # raised again in the thread that collects
            self._done.put(error)
            return
        finally:
            self._ended += 1
        if isinstance(result, Problem) and (result.reason == FAILED or not self._succeeded):
            self._suspects.append((number, result))
            self._judge(result)
        else:
            self._finish(number, result)

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

    async def _answer(self, request: Request) -> Result:
        """Send one request, with as many tries as it takes, and return its result."""
        body = json.dumps(chat_api.body(self._recipe, request)).encode()
        pause, why = FIRST_PAUSE, ""
        for attempt in range(self._settings.attempts):
            outcome = await self._try(body, request)
            if isinstance(outcome, Parsed):
                self._succeeded = True
                self._release()
                return outcome.completions
            if isinstance(outcome, Problem):
                return outcome
            why = outcome.why
            if attempt + 1 < self._settings.attempts:
                self._spending.retries += 1
                jittered = pause * random.uniform(0.5, 1.5)
                await asyncio.sleep(jittered if outcome.after is None else outcome.after)
                pause = min(2 * pause, LONGEST_PAUSE)
        return Problem(FAILED, f"{self._settings.attempts} tries; the last: {why}")

    async def _try(self, body: bytes, request: Request) -> Parsed | Problem | Fault:
        most = chat_api.most_tokens(request)
        async with self._slots, self._spending.reserved(most):
            task = asyncio.current_task()
            self._sending.add(task)
            try:
                status, content, after = await self._http("POST", "chat/completions", body)
            except TimeoutError:
                return Fault(f"no answer in {self._settings.timeout:g} s")
            except (aiohttp.ClientError, OSError) as error:
                return Fault(_describe(error))
            finally:
                self._sending.discard(task)
            if status != 200:
                return self._status(status, content, after)
            parsed = chat_api.parse(content, request)
            self._spending.add(parsed.tokens or most if isinstance(parsed, Parsed) else most)
            return parsed

    def _status(self, status: int, content: bytes, after: str | None) -> Problem | Fault:
        """Decide what an error status means: another try, the end of this request, or of all."""
        message = chat_api.reason_of(content, self._key)
        if status == 429 and b"insufficient_quota" in content:
            raise EngineError(f"{self._recipe.base_url}: the account has no quota left: {message}")
        if status in chat_api.TRANSIENT:
            return Fault(f"HTTP {status}: {message}", chat_api.retry_after(after))
        if status == 401 or (status in (403, 404, 405) and not self._succeeded):
            raise self._refused(status, content)
        return Problem("endpoint_refused", f"HTTP {status}: {message}")

    def _refused(self, status: int, content: bytes) -> EngineError:
        """Build the error for an answer that every other request would get too."""
        where, message = self._recipe.base_url, chat_api.reason_of(content, self._key)
        if status in (401, 403):
            key = f"the key in {self._recipe.api_key_env} was not accepted"
            if not self._key:
                key = "it requires a key: set api_key_env to the environment variable that holds one"
            return EngineError(f"{where} refused the request (HTTP {status}): {key}: {message}")
        names = f"; it serves {', '.join(self._models[:20])}" if self._models else ""
        return EngineError(
            f"{where} does not serve the model {self._recipe.model!r} (HTTP {status}: {message})"
            f"{names}; check the name, and that the URL ends in /v1"
        )

    async def _wind_down(self) -> None:
        for task in self._tasks - self._sending:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._session.close()


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
