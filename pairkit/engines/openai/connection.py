"""Connections to a server: the HTTP session, the proxy, and the API key."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from aiohttp.connector import Connection as Socket

from pairkit.engines.openai.body import ENCODINGS, read_body
from pairkit.engines.openai.secrets import secrets_of
from pairkit.engines.recipe import CallSettings, EngineRecipe
from pairkit.errors import RecipeError
from pairkit.masking import remember
from pairkit.progress import warn


class Connection:
    """The HTTP sessions of one engine. All coroutines run in the event loop that runs `open`."""

    def __init__(self, recipe: EngineRecipe, settings: CallSettings, key: str | None) -> None:
        self._url, self._settings, self._key = recipe.base_url.rstrip("/"), settings, key
        self._proxy = _proxy(recipe.base_url)
        self.secrets = secrets_of(recipe, key, self._proxy)
        self._sessions: list[aiohttp.ClientSession] = []  # the last is in use, others end their requests

    async def open(self) -> None:
        """Open the session, which belongs to the running event loop."""
        self._sessions.append(self._session(reuse=True))

    def _session(self, *, reuse: bool) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            # A server can neither make the session grow nor change the next request.
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # body.py does, within bounds
            request_class=_Request,
            # As many connections as calls in flight, so that none spends its timeout waiting for one.
            connector=aiohttp.TCPConnector(limit=self._settings.concurrency, force_close=not reuse),
            # Connecting has a limit of its own: `timeout` allows for slow answers, not for dead hosts.
            timeout=aiohttp.ClientTimeout(total=self._settings.timeout, sock_connect=30),
        )

    async def close(self) -> None:
        """Close the sessions."""
        for session in self._sessions:
            await session.close()

    async def request(
        self, method: str, path: str, body: bytes | None = None, tokens: int = 0
    ) -> tuple[int, bytes, Mapping[str, str]]:
        """Return status, content and headers of the answer to a request for at most `tokens` tokens.

        No redirect is followed, because it would get the key. Raises `AnswerError` for an answer that has
        begun and cannot be read, and what aiohttp raises before that.
        """
        headers = {"Accept-Encoding": ENCODINGS}
        if body is not None:
            headers["Content-Type"] = "application/json"
        async with self.opened(method, path, body, headers) as answer:
            return answer.status, await read_body(answer, tokens), answer.headers

    @asynccontextmanager
    async def opened(
        self, method: str, path: str, data: Any, headers: Mapping[str, str], **options: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request and yield the answer, whose body is not read yet; raises as `request` does."""
        try:
            async with self._sessions[-1].request(
                method,
                f"{self._url}/{path}",
                data=data,
                headers=headers,
                allow_redirects=False,
                proxy=self._proxy,
                **options,
            ) as answer:
                yield answer
        except _Unasked:
            self._reuse_none()
            raise

    def _reuse_none(self) -> None:
        """Use a connection per request from now on.

        An answer that nobody asked for can be told from the next request's only if it comes before that is
        sent, so that a server that sends such answers gets no second request on a connection.
        """
        if len(self._sessions) == 1:
            self._sessions.append(self._session(reuse=False))
            warn(
                f"{self._url} sent an answer that no request had asked for, as faulty proxies do. "
                "From now on each request has a connection of its own. An earlier answer may be that of the "
                "request before it: check some, or mend the server and generate again with another seed"
            )


class _Unasked(aiohttp.ClientConnectionError):
    """A connection holds an answer before a request is sent on it."""


class _Request(aiohttp.ClientRequest):
    """A request that is not sent where an answer has already come, which would be taken for its own."""

    async def send(self, conn: Socket) -> aiohttp.ClientResponse:
        if conn.protocol is not None and conn.protocol.should_close:
            conn.close()
            raise _Unasked("the server sent an answer that no request had asked for")
        return await super().send(conn)


def _proxy(url: str) -> str | None:
    """Return the environment's proxy for a URL, looked up once because aiohttp would do it per call."""
    parts = urlsplit(url)
    if not parts.hostname or proxy_bypass(parts.hostname):
        return None
    return getproxies().get(parts.scheme)


def key_of(recipe: EngineRecipe) -> str | None:
    """Return the key for the recipe's server.

    A server other than OpenAI's gets a key only if the recipe names one for it.
    """
    explicit = recipe.model_fields_set
    if "base_url" in explicit and "api_key_env" not in explicit:
        return None
    name = recipe.api_key_env
    key = os.environ.get(name, "").strip()
    if not key:
        raise RecipeError(
            f"{recipe.base_url} requires an API key: set the environment variable {name}, "
            "or base_url for a server that needs none"
        )
    remember(key)
    # Otherwise a key pasted with a line break would be an obscure error of the HTTP library.
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise RecipeError(
            f"the environment variable {name} does not hold a valid key: it contains spaces, line breaks or "
            "non-ASCII characters; set it again"
        )
    return key
