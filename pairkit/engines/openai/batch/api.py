"""The files and batches of a server, over HTTP.

Temporary failures are tried again, as those of other calls. A request that creates a batch is sent again only
after the server was asked whether it has the batch already: an answer may be lost after it was created.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, BinaryIO, NamedTuple, TypeVar

import aiohttp

from pairkit.engines.openai.batch.lines import URL
from pairkit.engines.openai.body import AnswerError, read_body
from pairkit.engines.openai.client import FIRST_PAUSE, LONGEST_PAUSE, Client, describe
from pairkit.engines.openai.errors import TRANSIENT, ServerError, server_error
from pairkit.engines.openai.wire import decoded, loads
from pairkit.engines.recipe import CallSettings, EngineRecipe
from pairkit.errors import EngineError

WINDOW = "24h"  # the only one that OpenAI has
# Of batches, listed 100 at a time, to find one that was created just before a process was killed.
_PAGES = 50
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,199}")
_METADATA = "pairkit"
_MISSING = (404, 405, 501)
Returned = TypeVar("Returned")


class _Temporary(Exception):
    """A failure after which another try may succeed."""


class Refused(EngineError):
    """A request that the server has refused: nothing has come of it."""


class State(NamedTuple):
    """A batch as the server describes it."""

    status: str
    output: str | None
    errors: str | None
    done: int  # requests that were answered, also by an error
    why: str  # of a batch that failed
    code: str


class BatchAPI:
    """The batches of one server. All coroutines run in the event loop of the client."""

    def __init__(self, recipe: EngineRecipe, settings: CallSettings, client: Client) -> None:
        self._recipe, self._settings, self._client = recipe, settings, client

    async def upload(self, name: str, file: BinaryIO, size: int) -> str:
        """Upload the file of a batch; return its id. Raises `EngineError`, also where there are no files."""

        async def once() -> str:
            # aiohttp closes what it has sent, and another try may follow.
            with os.fdopen(os.dup(file.fileno()), "rb") as again:
                again.seek(0)
                form = aiohttp.FormData()
                form.add_field("purpose", "batch")
                form.add_field("file", again, filename=f"{name}.jsonl", content_type="application/jsonl")
                return _id_in(await self._json("POST", "files", form), "file")

        return await self._tries(once, f"to upload {size / 1e6:,.1f} MB")

    async def create(self, name: str, file: str) -> str:
        """Create a batch of an uploaded file; return its id. Raises `Refused` and `EngineError`."""
        body = {
            "input_file_id": file,
            "endpoint": URL,
            "completion_window": WINDOW,
            "metadata": {_METADATA: name},
        }
        content = json.dumps(body).encode()
        again = False

        async def once() -> str:
            nonlocal again
            if again and (batch_id := await self._find(name, file)):
                return batch_id
            again = True
            answer = await self._json("POST", "batches", content, {"Content-Type": "application/json"})
            return _id_in(answer, "batch")

        return await self._tries(once, "to create a batch")

    async def find(self, name: str, file: str) -> str | None:
        """Return the id of the batch with that name or file, if the server has it. Raises `EngineError`."""
        return await self._tries(lambda: self._find(name, file), "to list batches")

    async def look(self, batch: str) -> State:
        """Return the state of a batch. Raises `EngineError`."""
        return _state(await self._tries(lambda: self._json("GET", f"batches/{batch}"), f"about {batch}"))

    async def download(self, file: str, into: BinaryIO, most: int) -> None:
        """Write the content of a file, of at most so many bytes. Raises `EngineError`."""

        async def once() -> None:
            into.seek(0)
            into.truncate()
            async with self._opened("GET", f"files/{file}/content", None, {}) as answer:
                if answer.status != 200:
                    raise self._failed(answer.status, await read_body(answer, 0), f"files/{file}/content")
                if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
                    raise Refused(f"{self._where}: the file {file} is packed, which was not asked for")
                size = 0
                async for part in answer.content.iter_any():
                    size += len(part)
                    if size > most:
                        raise Refused(f"{self._where}: the file {file} is larger than {most:,} bytes")
                    into.write(part)

        await self._tries(once, f"to download {file}")
        into.seek(0)

    @property
    def _where(self) -> str:
        return self._recipe.base_url

    async def _find(self, name: str, file: str) -> str | None:
        after = ""
        for _ in range(_PAGES):
            answer = await self._json("GET", f"batches?limit=100{after}")
            batches = [each for each in answer.get("data") or () if isinstance(each, Mapping)]
            for each in batches:
                about = each.get("metadata")
                named = isinstance(about, Mapping) and about.get(_METADATA) == name
                # Each file is that of one batch, and not every server keeps metadata.
                if named or each.get("input_file_id") == file:
                    return _id_in(each, "batch")
            if not batches or not answer.get("has_more"):
                return None
            after = f"&after={_id_in(batches[-1], 'batch')}"
        raise EngineError(
            f"{self._where}: batch {name} is not among the last {100 * _PAGES:,}; an earlier run was "
            "stopped while it was created. Look for it there, then choose another --cache to submit it again"
        )

    def _opened(self, method: str, path: str, data: Any, headers: Mapping[str, str]) -> Any:
        # By inactivity and not by their whole time, because files are large.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=self._settings.timeout)
        return self._client.connection.opened(
            method, path, data, {"Accept-Encoding": "identity", **headers}, timeout=timeout
        )

    async def _json(
        self, method: str, path: str, data: Any = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        async with self._opened(method, path, data, headers or {}) as answer:
            status, content = answer.status, await read_body(answer, 0)
        if status not in (200, 201):
            raise self._failed(status, content, path)
        try:
            value = loads(decoded(content))
        except ValueError as error:
            raise _Temporary("the answer is not JSON") from error
        if not isinstance(value, dict):
            raise _Temporary("the answer is not a JSON object")
        return value

    def _failed(self, status: int, content: bytes, path: str) -> Exception:
        error = server_error(status, content, self._client.secrets)
        if status in TRANSIENT:
            return _Temporary(f"HTTP {status}: {error.message}")
        place = path.partition("?")[0]
        return Refused(f"{self._where} refused {place} (HTTP {status}): {self._advice(error, place)}")

    def _advice(self, error: ServerError, path: str) -> str:
        if error.no_key:
            return f"the key in {self._recipe.api_key_env} was not accepted: {error.message}"
        if error.status in _MISSING and path in ("files", "batches"):
            return (
                "the server has no batches (/v1/files and /v1/batches): set calls.batch=false, or a base_url "
                f"of one that has ({error.message})"
            )
        if error.status in _MISSING:
            return (
                f"{error.message}; it was submitted with another key, or removed there: use that key, or "
                "calls.batch=false to ask directly"
            )
        return error.message

    async def _tries(self, once: Callable[[], Awaitable[Returned]], what: str) -> Returned:
        pause, why = FIRST_PAUSE, ""
        for attempt in range(self._settings.attempts):
            try:
                return await once()
            except (_Temporary, AnswerError) as error:
                why = str(error)
            except TimeoutError:
                why = f"nothing came for {self._settings.timeout:g} s"
            # An EngineError is a ConnectionError too; errors of this machine, such as a full disk, are not.
            except EngineError:
                raise
            except (aiohttp.ClientError, ConnectionError) as error:
                why = describe(error)
            if attempt + 1 < self._settings.attempts:
                self._client.spending.retries += 1
                await asyncio.sleep(pause * random.uniform(0.5, 1.5))
                pause = min(2 * pause, LONGEST_PAUSE)
        raise EngineError(
            f"{self._where} cannot be asked {what} ({self._settings.attempts} tries; the last: {why}); "
            "batches that were submitted stay there: run the same command again"
        )


def _id_in(answer: Mapping[str, Any], what: str) -> str:
    """Return the id in an answer, which becomes part of URLs."""
    value = answer.get("id")
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise _Temporary(f"the answer has no id of a {what}")
    return value


def _state(about: Mapping[str, Any]) -> State:
    counts = about.get("request_counts")
    numbers = [counts.get(name) for name in ("completed", "failed")] if isinstance(counts, Mapping) else []
    errors = about.get("errors")
    entries = errors.get("data") if isinstance(errors, Mapping) else None
    first = entries[0] if isinstance(entries, list) and entries and isinstance(entries[0], Mapping) else {}
    return State(
        str(about.get("status")).lower(),  # in capitals at some servers
        _file_of(about.get("output_file_id")),
        _file_of(about.get("error_file_id")),
        sum(number for number in numbers if isinstance(number, int) and 0 <= number < 10**9),
        " ".join(str(first.get("message", "no reason given")).split())[:300],
        str(first.get("code", ""))[:100],
    )


def _file_of(value: Any) -> str | None:
    return value if isinstance(value, str) and _ID.fullmatch(value) else None
