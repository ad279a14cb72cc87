"""The cache of responses: results of calls in one SQLite file, so that no call is made twice.

The key of a call is a hash of everything that its results depend on: the engine's identity and the requests.
Each result is on disk before it is used, so that a killed process loses only the calls in flight. Several
processes may use one file: SQLite locks it, so that no process owns it. A row holds a hash of itself, because
SQLite reads a changed text without an error; a row that was changed counts as one that is missing.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from itertools import chain
from pathlib import Path
from typing import Any

from pairkit.engines.base import Call, Completion, FinishReason, Problem, Request, Result, SentSampling
from pairkit.errors import OutputError
from pairkit.masking import masked
from pairkit.progress import warn
from pairkit.schema import canonical_json

# In the file's `user_version`, a number that SQLite leaves to applications. Rows of format 1 have the first
# four fields of a completion, and those of formats 1 and 2 no hash. They are read too, and their files become
# files of this format.
_VERSION = 3
# Python cannot decode the message in which SQLite quotes a name of a damaged file.
_DAMAGE = (sqlite3.Error, UnicodeDecodeError)
_SCHEMA = (
    # `failed` is a column, so that `retry_failed` needs no parsing. Keys are hashes, which an index next to
    # the rowid would store twice.
    "CREATE TABLE IF NOT EXISTS calls "
    "(key BLOB PRIMARY KEY, failed INTEGER, results TEXT, hash BLOB) WITHOUT ROWID"
)
# Rows that are read at a time to be stored elsewhere.
_ROWS = 1000
# Rows of one statement; SQLite has room for 999 values in any version.
_ROWS_AT_ONCE = 200
# Key, whether it failed, results, hash.
Row = tuple[bytes, int, str, bytes | None]
_ADD_HASH = "ALTER TABLE calls ADD COLUMN hash BLOB"


class Cache:
    """The cache in the file `path`; with `retry_failed`, calls that ended in a problem are made again.

    A missing file is created with the first call. With `read_only`, not a byte of the file or its folder is
    changed. Raises `OutputError` for a file that is not a cache.
    """

    def __init__(self, path: Path, *, retry_failed: bool = False, read_only: bool = False) -> None:
        self.path, self.retry_failed = path, retry_failed
        self.hits = self.damaged = 0
        # Not created yet, because a build that fails before its first call should leave no file.
        opens = _connect_to_read if read_only else _connect
        self._open: sqlite3.Connection | None = opens(path) if path.exists() else None

    def get(self, key: bytes) -> tuple[Result, ...] | None:
        """Return the results of the call with this key, or None if it was not made before."""
        rows = self._run("SELECT failed, results, hash FROM calls WHERE key = ?", (key,))
        if not rows:
            return None
        failed, results, digest = rows[0]
        answers = _stored(key, failed, results, digest)
        if answers is None:
            # Not an error: the answer is a request away, and all other rows are sound.
            self.damaged += 1
            return None
        if failed and self.retry_failed:
            return None
        # Counted for a person: calls that cost nothing explain why a build is so fast.
        self.hits += 1
        return answers

    def put(self, key: bytes, results: Sequence[Result]) -> None:
        """Store the results of a call; from here on they survive a crash of the process."""
        self.put_all([(key, results)])

    def put_all(self, answers: Iterable[tuple[bytes, Sequence[Result]]]) -> None:
        """Store the results of some calls, by key; from here on all survive a crash of the process."""
        rows = [_row(key, results) for key, results in answers]
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            some = rows[start : start + _ROWS_AT_ONCE]
            # In one statement, because a statement is a transaction, which takes longer than to write a row.
            # REPLACE, because `retry_failed` repeats a key, and two builds may ask the same at the same time.
            places = ", ".join(["(?, ?, ?, ?)"] * len(some))
            self._run(f"INSERT OR REPLACE INTO calls VALUES {places}", tuple(chain.from_iterable(some)))

    def add(self, rows: Iterable[Row]) -> int:
        """Store rows of another file, and return how many of them were as they had been written."""
        number = 0
        for key, failed, results, digest in rows:
            if _stored(key, failed, results, digest) is None:
                self.damaged += 1
                continue
            self._run("INSERT OR REPLACE INTO calls VALUES (?, ?, ?, ?)", (key, failed, results, digest))
            number += 1
        return number

    def close(self) -> None:
        """Close the file, and log how many of its answers had been changed."""
        if self._open is not None:
            self._open.close()
        if self.damaged:
            warn(
                f"{self.path}: {self.damaged:,} answers had been changed since they were stored; they were "
                "asked for again"
            )
            self.damaged = 0

    def _run(self, statement: str, values: tuple[Any, ...]) -> list[Any]:
        self._open = self._open or _connect(self.path)
        try:
            return self._open.execute(statement, values).fetchall()
        except sqlite3.OperationalError as error:  # a full disk too, which must not look like a failed engine
            raise OutputError(f"{self.path}: the response cache failed: {error}") from error
        except _DAMAGE as error:
            raise OutputError(f"{self.path}: {_damage(error)}") from error


def rows_of(path: Path) -> Iterator[list[Row]]:
    """Yield the rows of a file that nobody writes to, some at a time. Raises `sqlite3.Error`."""
    try:
        with closing(sqlite3.connect(path)) as connection:
            cursor = connection.execute("SELECT key, failed, results, hash FROM calls ORDER BY key")
            while rows := cursor.fetchmany(_ROWS):
                yield rows
    except UnicodeDecodeError as error:
        raise sqlite3.DatabaseError(_reason(error)) from error


def call_key(identity: Mapping[str, Any], call: Call) -> bytes:
    """Hash everything that the results of a call depend on, with sha256."""
    # Sampling seeds are part of the requests, so two samples of a prompt are two keys. Keys and passwords of
    # servers are not, because they decide no answer.
    requests = [_key_of(request) for request in call.requests]
    return hashlib.sha256(canonical_json([masked(dict(identity)), requests]).encode()).digest()


def _key_of(request: Request) -> list[Any]:
    key: list[Any] = [list(request.prompt), request.samplings]
    # Only where there are any, so that the answers to all other calls are found in old files.
    if request.tools is not None or request.template_kwargs is not None:
        key += [request.tools, request.template_kwargs]
    if request.top_logprobs is not None:
        key.append({"top_logprobs": request.top_logprobs})
    if request.structure is not None:
        key.append({"structure": list(request.structure)})
    return key


def _connect(path: Path) -> sqlite3.Connection:
    connection: sqlite3.Connection | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Every statement is its own transaction. With a write-ahead log, a commit survives a killed process
        # without waiting for the disk. 60 s, because another build may be writing.
        connection = sqlite3.connect(path, timeout=60, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        _check_version(connection)
        connection.execute(_SCHEMA)
        if "hash" not in _columns(connection):
            with suppress(sqlite3.OperationalError):  # another process that opened the file has added it
                connection.execute(_ADD_HASH)
        # After the table, so that a file with the version always has it.
        connection.execute(f"PRAGMA user_version = {_VERSION}")
    except (OSError, *_DAMAGE) as error:
        raise _unusable(path, connection, error) from error
    return connection


def _connect_to_read(path: Path) -> sqlite3.Connection:
    connection: sqlite3.Connection | None = None
    # SQLite puts files next to the one that it reads, unless it may take it for one that nobody changes: as
    # it is without a write-ahead log.
    logged = path.with_name(f"{path.name}-wal").exists()
    try:
        address = f"{path.absolute().as_uri()}?mode=ro{'' if logged else '&immutable=1'}"
        connection = sqlite3.connect(address, uri=True, timeout=60, isolation_level=None)
        _check_version(connection)
        if "hash" not in _columns(connection):
            # Of an old file, whose column cannot be added here.
            connection.execute("CREATE TEMP VIEW calls AS SELECT *, NULL AS hash FROM main.calls")
    except _DAMAGE as error:
        raise _unusable(path, connection, error) from error
    return connection


def _check_version(connection: sqlite3.Connection) -> None:
    # A text that is not UTF-8 any more is a row that was changed, and not a failure of the file.
    connection.text_factory = lambda content: content.decode("utf-8", "replace")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    # 0 is what SQLite gives a new file.
    if not 0 <= version <= _VERSION:
        raise sqlite3.DatabaseError(f"it was created by another version of pairkit (format {version})")


def _columns(connection: sqlite3.Connection) -> set[str]:
    columns = {name for _, name, *_ in connection.execute("PRAGMA table_info(calls)")}
    if not {"key", "failed", "results"} <= columns:
        raise sqlite3.DatabaseError("its table has other columns")
    return columns


def _unusable(path: Path, connection: sqlite3.Connection | None, error: Exception) -> OutputError:
    if connection is not None:
        connection.close()
    return OutputError(
        f"{path}: cannot be used as the response cache: {_reason(error)}; move the file away, or choose "
        "another --cache"
    )


def _damage(error: Exception) -> str:
    return f"the response cache is damaged ({_reason(error)}); remove the file, or choose another --cache"


def _reason(error: Exception) -> str:
    return "a name in it is no text" if isinstance(error, UnicodeDecodeError) else str(error)


def _row(key: bytes, results: Sequence[Result]) -> Row:
    failed = any(isinstance(result, Problem) for result in results)
    text = json.dumps([_plain(result) for result in results])
    return key, failed, text, _hash(key, failed, text)


def _hash(key: bytes, failed: object, results: str) -> bytes:
    """Hash a row; 16 bytes, because chance is the only adversary."""
    return hashlib.sha256(b"%b%d%b" % (key, bool(failed), results.encode())).digest()[:16]


def _stored(key: bytes, failed: object, results: object, digest: object) -> tuple[Result, ...] | None:
    """Return the results in a row; None if it was changed since it was written."""
    try:
        text = str(results)
        # Without a hash in a row of a version that did not write it; JSON is written in ASCII.
        if not text.isascii() or digest not in (None, _hash(key, failed, text)):
            return None
        return tuple(_result(plain) for plain in json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return None


def _plain(result: Result) -> Any:
    # An object, because completions are a list: `_result` tells the two apart by this.
    if isinstance(result, Problem):
        return {"problem": list(result)}
    # By position and without names, because there is a row per call; another order needs another _VERSION.
    return [_short(answer) for answer in result]


def _short(answer: Completion) -> list[Any]:
    """Return the fields of a completion, without those at the end that it does not have."""
    fields = list(answer)
    while fields[-1] is None:
        fields.pop()
    return fields


def _result(plain: Any) -> Result:
    if isinstance(plain, dict):
        return Problem(*plain["problem"])
    return tuple(_completion(*fields) for fields in plain)


def _completion(
    text: str,
    tokens: int | None,
    reason: FinishReason,
    sampling: list[Any],
    thought: str | None = None,
    tool_calls: str | None = None,
    token_ids: list[int] | None = None,
    tokenizer: str | None = None,
    remarks: list[str] | None = None,
    logprobs: list[list[Any]] | None = None,
) -> Completion:
    ids = None if token_ids is None else tuple(token_ids)
    noted = None if remarks is None else tuple(remarks)
    sampled = SentSampling(*sampling)
    top = None if logprobs is None else tuple((str(token), float(value)) for token, value in logprobs)
    return Completion(text, tokens, reason, sampled, thought, tool_calls, ids, tokenizer, noted, top)
