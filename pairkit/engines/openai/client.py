"""HTTP calls to a chat server: the check of the server, and one request with all of its tries.

Temporary failures (429, 5xx, a timeout, a broken connection, an incomplete answer) are retried after a pause
that doubles, or that the server names; what still fails is a `Problem` of that request. Failures that every
request would share (a wrong key, an unknown model) are an `EngineError`.
"""

from __future__ import annotations

import asyncio
import json
import random

import aiohttp

from pairkit.engines.base import Problem, Request
from pairkit.engines.openai import chat_api
from pairkit.engines.openai.chat_api import Fault, Parsed
from pairkit.engines.openai.connection import open_session, proxy
from pairkit.engines.openai.spending import Spending
from pairkit.engines.recipe import CallSettings, EngineRecipe
from pairkit.errors import EngineError, RecipeError

FAILED = "endpoint_failed"
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0  # seconds between two tries, before the jitter


class Client:
    """The connections to one server. All coroutines run in the event loop that runs `open`."""

    def __init__(self, recipe: EngineRecipe, settings: CallSettings, key: str | None) -> None:
        self.spending = Spending(settings, recipe.model)
        self.succeeded = False  # whether a call has succeeded yet: the model and the key are right then
        self.sending: set[asyncio.Task[None] | None] = set()  # tasks whose request is in flight
        self._recipe, self._settings, self._key = recipe, settings, key
        self._proxy = proxy(recipe.base_url)
        self._models: list[str] = []
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._session: aiohttp.ClientSession

    async def open(self) -> None:
        """Open the HTTP session, which belongs to the running event loop."""
        self._session = await open_session(self._settings, self._key)

    async def close(self) -> None:
        """Close the HTTP session."""
        await self._session.close()

    async def check_server(self) -> None:
        """List the server's models, which not every server supports.

        Raises `RecipeError` for an invalid URL, `EngineError` if it is unreachable or refuses the key.
        """
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

    async def complete(self, request: Request) -> Parsed | Problem:
        """Send one request, with as many tries as it takes."""
        # Once for all tries, because a repeated request must be the same one.
        body = json.dumps(chat_api.body(self._recipe, request)).encode()
        pause, why = FIRST_PAUSE, ""
        for attempt in range(self._settings.attempts):
            outcome = await self._try(body, request)
            if isinstance(outcome, Parsed):
                self.succeeded = True
                return outcome
            if isinstance(outcome, Problem):
                return outcome
            why = outcome.why
            if attempt + 1 < self._settings.attempts:
                self.spending.retries += 1
                # Jittered, so that the calls that one overload has refused do not all return at once.
                jittered = pause * random.uniform(0.5, 1.5)
                await asyncio.sleep(jittered if outcome.after is None else outcome.after)
                pause = min(2 * pause, LONGEST_PAUSE)
        return Problem(FAILED, f"{self._settings.attempts} tries; the last: {why}")

    async def _try(self, body: bytes, request: Request) -> Parsed | Problem | Fault:
        most = chat_api.most_tokens(request)
        async with self._slots, self.spending.reserved(most):
            task = asyncio.current_task()
            self.sending.add(task)
            try:
                status, content, after = await self._http("POST", "chat/completions", body)
            except TimeoutError:
                return Fault(f"no answer in {self._settings.timeout:g} s")
            except (aiohttp.ClientError, OSError) as error:
                return Fault(_describe(error))
            finally:
                self.sending.discard(task)
            if status != 200:
                return self._status(status, content, after)
            parsed = chat_api.parse(content, request)
            # An answer that cannot be used is paid for too, and so is one without a token count.
            self.spending.add(parsed.tokens or most if isinstance(parsed, Parsed) else most)
            return parsed

    async def _http(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes, str | None]:
        """Return status, content and Retry-After. No redirect is followed, because it would get the key."""
        url = f"{self._recipe.base_url.rstrip('/')}/{path}"
        headers = {"Content-Type": "application/json"} if body is not None else None
        async with self._session.request(
            method, url, data=body, headers=headers, allow_redirects=False, proxy=self._proxy
        ) as answer:
            return answer.status, await answer.read(), answer.headers.get("Retry-After")

    def _status(self, status: int, content: bytes, after: str | None) -> Problem | Fault:
        """Decide what an error status means: another try, the end of this request, or of all."""
        message = chat_api.reason_of(content, self._key)
        # The same status as "too many requests", but no pause helps an empty account.
        if status == 429 and b"insufficient_quota" in content:
            raise EngineError(f"{self._recipe.base_url}: the account has no quota left: {message}")
        if status in chat_api.TRANSIENT:
            return Fault(f"HTTP {status}: {message}", chat_api.retry_after(after))
        # After a success these statuses are about the request, before it about the key or the URL.
        if status == 401 or (status in (403, 404, 405) and not self.succeeded):
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


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
