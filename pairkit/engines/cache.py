"""What calls have given, in one SQLite file: a call that was made is not made again.

The key of a call is a hash of everything that its results depend on: what the engine says of itself and the
requests. Each result is on disk before it is used, so that a process which is killed loses what was in
flight and nothing else. Several processes may use one file.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pairkit.engines.base import Call, Completion, Problem, Result, Sampling
from pairkit.errors import OutputError
from pairkit.schema import canonical_json

_VERSION = 1
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS calls (key BLOB PRIMARY KEY, failed INTEGER, results TEXT) WITHOUT ROWID"
)


class Cache:
    """The file at `path`; with `retry_failed`, calls that ended in a problem count as never made.

    A file that is not there is made with the first call. Raises `OutputError` for one that is no cache.
    """

    def __init__(self, path: Path, *, retry_failed: bool = False) -> None:
        self.path, self.retry_failed = path, retry_failed
        self.hits = 0
        self._open: sqlite3.Connection | None = _connect(path) if path.exists() else None

    def get(self, key: bytes) -> tuple[Result, ...] | None:
        """The results of the call of that key if it was made before."""
        found = self._run("SELECT failed, results FROM calls WHERE key = ?", (key,)).fetchone()
        if found is None or (found[0] and self.retry_failed):
            return None
        self.hits += 1
        return tuple(_result(one) for one in json.loads(found[1]))

    def put(self, key: bytes, results: Sequence[Result]) -> None:
        """Stores what a call has given; from here on it is not lost."""
        failed = any(isinstance(result, Problem) for result in results)
        values = (key, failed, json.dumps([_plain(result) for result in results]))
        self._run("INSERT OR REPLACE INTO calls VALUES (?, ?, ?)", values)

    def close(self) -> None:
        if self._open is not None:
            self._open.close()

    def _run(self, statement: str, values: tuple[Any, ...]) -> sqlite3.Cursor:
        self._open = self._open or _connect(self.path)
        try:
            return self._open.execute(statement, values)
        except sqlite3.Error as error:
            raise OutputError(f"{self.path}: the cache of calls: {error}") from error


def call_key(identity: Mapping[str, Any], call: Call) -> bytes:
    """The sha256 over everything that the results of a call depend on."""
    requests = [[list(request.prompt), request.samplings] for request in call.requests]
    return hashlib.sha256(canonical_json([identity, requests]).encode()).digest()


def _connect(path: Path) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Every statement is its own transaction. With a write-ahead log a commit need not wait for the disk
        # to survive a killed process.
        connection = sqlite3.connect(path, timeout=60, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version not in (0, _VERSION):
            raise sqlite3.DatabaseError(f"another version of pairkit made it (format {version})")
        connection.execute(_SCHEMA)
        connection.execute(f"PRAGMA user_version = {_VERSION}")
    except (OSError, sqlite3.Error) as error:
        raise OutputError(f"{path}: cannot be used as the cache of calls: {error}") from error
    return connection


def _plain(result: Result) -> Any:
    if isinstance(result, Problem):
        return {"problem": list(result)}
    return [[one.text, one.tokens, one.finish_reason, list(one.sampling)] for one in result]


def _result(plain: Any) -> Result:
    if isinstance(plain, dict):
        return Problem(*plain["problem"])
    return tuple(
        Completion(text, tokens, reason, Sampling(*sampling)) for text, tokens, reason, sampling in plain
    )
