"""HTTP calls to a chat server: the check of the server, and one request with all of its tries.

Temporary failures (429, 5xx, a timeout, a broken connection, an incomplete answer) are retried after a pause
that doubles, or that the server names; what still fails is a `Problem` of that request. Failures that every
request would share (a wrong key, an unknown model) are an `EngineError`. A request that the server takes
in another form only (dialect.py) is sent again at once.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import aiohttp

from pairkit.engines.base import Completion, Problem, Request
from pairkit.engines.mixes import mix_refused
from pairkit.engines.openai import chat_api
from pairkit.engines.openai.account import Account
from pairkit.engines.openai.body import AnswerError
from pairkit.engines.openai.chat_api import Fault, Parsed
from pairkit.engines.openai.connection import Connection
from pairkit.engines.openai.dialect import ONE_BY_ONE, PLAIN, Dialect, lesson
from pairkit.engines.openai.errors import TRANSIENT, ServerError, remedy, server_error
from pairkit.engines.openai.spending import Spending
from pairkit.engines.recipe import CallSettings, EngineRecipe
from pairkit.errors import EngineError, PairkitError, RecipeError
from pairkit.masking import masked
from pairkit.progress import log, warn

FAILED = "endpoint_failed"
ANSWERED = (200, 201)  # the statuses of a whole answer
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0  # seconds between two tries, before the jitter
_SAID = 200  # characters of an error of the HTTP library in a message
# Seconds for which the first request is alone at most: a server refuses at once what it answers slowly.
FIRST_ALONE = 5.0


class Client:
    """The connections to one server. All coroutines run in the event loop that runs `open`."""

    def __init__(
        self,
        recipe: EngineRecipe,
        settings: CallSettings,
        key: str | None,
        account: Account | None = None,
    ) -> None:
        self.spending: Account = Spending(settings, recipe.model) if account is None else account
        self.succeeded = False  # whether a call has succeeded yet: the model and the key are right then
        self.sending: set[asyncio.Task[None] | None] = set()  # tasks whose request is in flight
        self.begun: set[asyncio.Task[None] | None] = set()  # tasks that have some of their completions
        self.dialect = PLAIN  # how requests are written by now
        self.connection = Connection(recipe, settings, key)
        self.secrets = self.connection.secrets
        self._recipe, self._settings, self._key = recipe, settings, key
        self._models: list[str] = []
        self._slots = asyncio.Semaphore(settings.concurrency)
        # Set when the first request has shown what the server takes, so that not all of them are refused.
        self._shown: asyncio.Event | None = None
        self._fatal: PairkitError | None = None
        self._refusal_said = False

    async def open(self) -> None:
        """Open the HTTP session, which belongs to the running event loop."""
        await self.connection.open()

    async def close(self) -> None:
        """Close the HTTP session."""
        await self.connection.close()

    async def check_server(self) -> None:
        """List the server's models, which not every server supports.

        Raises `RecipeError` for an invalid URL, `EngineError` if it is unreachable or refuses the key.
        """
        try:
            status, content, headers = await self.connection.request("GET", "models")
        except (aiohttp.InvalidURL, ValueError) as error:
            raise RecipeError(f"base_url {self._recipe.base_url!r} is not a URL: {error}") from error
        except AnswerError:
            return  # the list is only for messages
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise EngineError(f"{self._recipe.base_url} cannot be reached: {describe(error)}") from error
        if status == 200:
            self._models = [self.secrets.hide(name) for name in chat_api.model_names(content)]
        elif "Location" in headers:
            raise self._redirected(status, headers)
        elif (refusal := server_error(status, content, self.secrets)).no_key:
            raise self._refused(refusal)

    def at_once(self, request: Request) -> Request:
        """Return the part of a request that the server takes at once."""
        temperature = self._recipe.extra_body.get("temperature", request.samplings[0].temperature)
        if (temperature == 0) not in self.dialect.single:
            return request
        return replace(request, samplings=request.samplings[:1])

    async def complete(self, request: Request) -> tuple[Completion, ...] | Problem:
        """Send one request, with as many tries as it takes; one by one if the server takes no `n`."""
        first = self._shown is None
        if self._shown is None:
            self._shown = asyncio.Event()
            asyncio.get_running_loop().call_later(FIRST_ALONE, self._shown.set)
        else:
            await self._shown.wait()
        # It would be that of every further request as well.
        if self._fatal is not None:
            raise self._fatal
        try:
            return await self._complete(request)
        except PairkitError as error:
            self._fatal = error
            raise
        finally:
            if first:
                self._shown.set()

    async def _complete(self, request: Request) -> tuple[Completion, ...] | Problem:
        task = asyncio.current_task()
        completions: tuple[Completion, ...] = ()
        try:
            while len(completions) < len(request.samplings):
                outcome = await self._ask(replace(request, samplings=request.samplings[len(completions) :]))
                if isinstance(outcome, Problem):
                    return outcome
                completions = (*completions, *outcome)
                self.begun.add(task)
            return completions
        finally:
            self.begun.discard(task)

    async def _ask(self, request: Request) -> tuple[Completion, ...] | Problem:
        """Return the completions of one answer, the first or all of those that are asked for."""
        pause, why = FIRST_PAUSE, ""
        for attempt in range(self._settings.attempts):
            outcome = await self._once(request)
            if not isinstance(outcome, Fault):
                return outcome
            why = outcome.why
            if attempt + 1 < self._settings.attempts:
                self.spending.retries += 1
                # Jittered, so that the calls that one overload has refused do not all return at once.
                jittered = pause * random.uniform(0.5, 1.5)
                await asyncio.sleep(jittered if outcome.after is None else outcome.after)
                pause = min(2 * pause, LONGEST_PAUSE)
        return Problem(FAILED, f"{self._settings.attempts} tries; the last: {why}")

    async def _once(self, request: Request) -> tuple[Completion, ...] | Problem | Fault:
        """Make one try, written as the server takes it."""
        while True:
            dialect, part = self.dialect, self.at_once(request)
            body = chat_api.body(self._recipe, part, dialect)
            outcome = await self._try(body, part)
            if isinstance(outcome, ServerError):
                learned = lesson(outcome, body, self._recipe.extra_body)
                # Without a pause, because it will be another request: the same one would end the same.
                if learned is not None and learned.without(dialect) != PLAIN:
                    self._learn(learned, outcome.message)
                    continue
            if self._shown is not None:
                self._shown.set()
            if isinstance(outcome, ServerError):
                return self._meaning(outcome, body)
            if isinstance(outcome, Parsed):
                return self._answered(outcome.completions, len(part.samplings))
            return outcome

    def _answered(self, completions: tuple[Completion, ...], expected: int) -> tuple[Completion, ...]:
        self.succeeded = True
        if len(completions) < expected:
            self._learn(ONE_BY_ONE, f"{len(completions)} of {expected} were answered")
        return completions

    def _learn(self, learned: Dialect, why: str) -> None:
        """Write requests otherwise from now on. Raises `RecipeError` if that makes a mix of samples one."""
        where, place = self._recipe.base_url, self._recipe.place
        for name in sorted(learned.removed & self._recipe.varied):
            raise mix_refused(where, name, why, place)
        new = learned.without(self.dialect)
        self.dialect = self.dialect.also(learned)
        # Requests that were in flight learn the same; it is logged once.
        for line in new.described():
            (warn if new.removed else log)(f"{where}, {self._recipe.model}: {line} ({why})")

    async def _try(self, body: Mapping[str, Any], request: Request) -> Parsed | ServerError | Fault:
        most = chat_api.most_tokens(request, body)
        async with self._slots, self.spending.reserved(most):
            task = asyncio.current_task()
            self.sending.add(task)
            try:
                status, content, headers = await self.connection.request(
                    "POST", "chat/completions", json.dumps(body).encode(), most.completion
                )
            except AnswerError as error:
                # What has begun is paid for.
                if error.status < 300:
                    self.spending.add(most)
                return Fault(str(error))
            except TimeoutError:
                return Fault(f"no answer in {self._settings.timeout:g} s")
            except (aiohttp.ClientError, OSError) as error:
                return Fault(describe(error))
            finally:
                self.sending.discard(task)
            after = chat_api.retry_after(headers.get("Retry-After"))
            if 300 <= status < 400:
                if self.succeeded or "Location" not in headers:
                    return Fault(f"HTTP {status}, which is not an answer")
                raise self._redirected(status, headers)
            if status >= 300:
                return server_error(status, content, self.secrets)._replace(after=after)
            # A part of an answer (206) would be taken for the whole.
            if status not in ANSWERED:
                self.spending.add(most)
                return Fault(f"HTTP {status}, which is not an answer")
            answer = chat_api.parse(content, body, self.secrets)
            if isinstance(answer, ServerError):
                return answer._replace(after=after)
            self.spending.add(chat_api.used(answer, most))
            return answer

    def _redirected(self, status: int, headers: Mapping[str, str]) -> EngineError:
        """Build the error for a server that is somewhere else."""
        place = self.secrets.hide(headers["Location"])[:200]
        return EngineError(
            f"{self._recipe.base_url} redirects (HTTP {status}) to {place!r}, which is not followed, because "
            "it would get the prompts and the key; if that is the server, set base_url to it"
        )

    def _meaning(self, error: ServerError, body: Mapping[str, Any]) -> Problem | Fault:
        """Decide what an error means: another try, or the end of this request.

        Raises `EngineError` or `RecipeError` for an end that every other request would meet too.
        """
        where = self._recipe.base_url
        # The same status as "too many requests", but no pause helps an empty account.
        if error.status == 402 or "insufficient_quota" in error.words:
            raise EngineError(f"{where}: the account has no quota left: {error.message}")
        if error.status in TRANSIENT:
            return Fault(f"HTTP {error.status}: {error.message}", error.after)
        # After a success these are about the request, before it about the key, the URL or the model.
        shared = error.status in (404, 405) or (error.no_key and not error.filtered) or error.no_model
        if error.status == 401 or (shared and not self.succeeded):
            raise self._refused(error)
        advice = remedy(error, body, self._recipe)
        detail = f"HTTP {error.status}: {error.message}; {advice.text}"
        if advice.of_all and not self.succeeded:
            raise RecipeError(f"{where} refuses the request ({detail})")
        if not self._refusal_said:
            self._refusal_said = True
            # The first only: quarantine has all of them.
            warn(f"{where} refuses a request ({detail})")
        return Problem("endpoint_refused", detail)

    def _refused(self, error: ServerError) -> EngineError:
        """Build the error for an answer that every other request would get too."""
        where = self._recipe.base_url
        if error.no_key:
            key = f"the key in {self._recipe.api_key_env} was not accepted"
            if not self._key:
                key = "it requires a key: set api_key_env to the environment variable that holds one"
            return EngineError(f"{where} refused the request (HTTP {error.status}): {key}: {error.message}")
        names = f"; it serves {', '.join(self._models[:20])}" if self._models else ""
        return EngineError(
            f"{where} does not serve the model {self._recipe.model!r} (HTTP {error.status}: {error.message})"
            f"{names}; check the name, and that the URL ends in /v1"
        )


def describe(error: Exception) -> str:
    # In a line, because some repeat what the server has sent.
    text = " ".join(masked(str(error)).split())[:_SAID]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
