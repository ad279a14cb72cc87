"""Which requests are in which batch: two tables in the file of the cache of calls.

A batch is written here before its file is uploaded, the id of its file before the batch is created, and the
id of the batch before anybody waits for it. So a process that is killed at any moment leaves either nothing
at the server that costs, or a batch that the next process finds: by its id, or by its name and file.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from pairkit.engines.openai.account import Tokens
from pairkit.errors import OutputError
from pairkit.ownership import WITHOUT_LOCKS

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS batches (name TEXT PRIMARY KEY, server TEXT, requests INTEGER, "
    "prompt INTEGER, completion INTEGER, file TEXT, id TEXT)",
    # `batch` is null for a request that a batch has left unanswered: it is asked directly.
    "CREATE TABLE IF NOT EXISTS batched (custom_id TEXT PRIMARY KEY, key BLOB, batch TEXT, sent TEXT, "
    "fewest INTEGER, prompt INTEGER, completion INTEGER)",
    "CREATE INDEX IF NOT EXISTS batched_by_batch ON batched (batch)",
)
_BATCH = "name, server, requests, prompt, completion, file, id"
_ROW = "custom_id, key, sent, fewest, prompt, completion"


class Batch(NamedTuple):
    """A batch that has not ended, as far as its submission got.

    Attributes:
        name: pairkit's own, in the metadata of the batch at the server.
        server: the URL, without a password.
        prompt, completion: the most tokens of all its requests.
        file, id: those of the server; None: it was not uploaded, or not created.
    """

    name: str
    server: str
    requests: int
    prompt: int
    completion: int
    file: str | None = None
    id: str | None = None

    @property
    def most(self) -> Tokens:
        """The most tokens of all requests."""
        return Tokens(self.prompt, self.completion)


class Row(NamedTuple):
    """A request in a batch.

    Attributes:
        custom_id: its name in the files of the batch.
        key: of its call, in the cache.
        sent: JSON of the request's body, without what depends on the prompt.
        fewest: the fewest tokens of its prompt.
        prompt, completion: the most tokens.
    """

    custom_id: str
    key: bytes
    sent: str
    fewest: int
    prompt: int
    completion: int

    @property
    def most(self) -> Tokens:
        """The most tokens."""
        return Tokens(self.prompt, self.completion)


def custom_id_of(key: bytes) -> str:
    """Return the name of a call in the files of a batch: short enough for every server."""
    return key.hex()[:48]


class BatchStore:
    """The batches in the file of a cache, which is created if it is missing. Raises `OutputError`."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path, self._read_only = path, read_only
        self._open: sqlite3.Connection | None = None

    def batch_of(self, key: bytes, server: str) -> Batch | bool:
        """Return the batch at that server with the call of that key; False: none has it; True: it was in
        one that left it unanswered."""
        rows = self._run("SELECT batch FROM batched WHERE custom_id = ?", custom_id_of(key))
        if not rows:
            return False
        if rows[0][0] is None:
            return True
        batches = self._run(f"SELECT {_BATCH} FROM batches WHERE name = ? AND server = ?", rows[0][0], server)
        # At another server, to which nobody asks to return: the call may go into a batch at this one.
        return Batch(*batches[0]) if batches else False

    def open_batches(self, server: str) -> list[Batch]:
        """Return the batches at a server that have not ended."""
        rows = self._run(f"SELECT {_BATCH} FROM batches WHERE server = ? ORDER BY rowid", server)
        return [Batch(*row) for row in rows]

    def rows(self, name: str) -> dict[str, Row]:
        """Return the requests of a batch, by custom_id."""
        rows = self._run(f"SELECT {_ROW} FROM batched WHERE batch = ?", name)
        return {row[0]: Row(*row) for row in rows}

    def plan(self, batch: Batch, rows: Sequence[Row]) -> None:
        """Write a batch before anything of it is uploaded."""
        with self._transaction() as connection:
            connection.execute(f"INSERT INTO batches ({_BATCH}) VALUES (?, ?, ?, ?, ?, ?, ?)", batch)
            # REPLACE, because a request may have been in a batch of another server.
            connection.executemany(
                f"INSERT OR REPLACE INTO batched ({_ROW}, batch) VALUES (?, ?, ?, ?, ?, ?, ?)",
                ((*row, batch.name) for row in rows),
            )

    def uploaded(self, name: str, file: str) -> None:
        """Write the id of the file of a batch."""
        self._run("UPDATE batches SET file = ? WHERE name = ?", file, name)

    def created(self, name: str, batch_id: str) -> None:
        """Write the id of a batch."""
        self._run("UPDATE batches SET id = ? WHERE name = ?", batch_id, name)

    def end(self, name: str, unanswered: Sequence[str] = ()) -> None:
        """Forget a batch and its requests; those of `unanswered` are asked directly from now on."""
        with self._transaction() as connection:
            connection.executemany(
                "UPDATE batched SET batch = NULL WHERE custom_id = ? AND batch = ?",
                ((custom_id, name) for custom_id in unanswered),
            )
            connection.execute("DELETE FROM batched WHERE batch = ?", (name,))
            connection.execute("DELETE FROM batches WHERE name = ?", (name,))

    @contextmanager
    def submitting(self) -> Iterator[None]:
        """Be the only process that submits or mends batches of this file for the block.

        A batch without an id is then of a process that was killed.
        """
        path = self.path.with_name(f".{self.path.name}.batches.lock")
        try:
            handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            raise OutputError(f"{path}: cannot be written to: {error.strerror}") from error
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
            except OSError as error:
                # Without locks two builds that share a cache at this moment may ask the same twice.
                if error.errno not in WITHOUT_LOCKS:
                    raise
            yield
        finally:
            os.close(handle)

    def close(self) -> None:
        """Close the file."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _run(self, statement: str, *values: Any) -> list[Any]:
        with self._errors():
            connection = self._connection()
            return [] if connection is None else connection.execute(statement, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._errors():
            connection = self._connection()
            assert connection is not None, self.path  # nothing is written to a file that is only read
            connection.execute("BEGIN IMMEDIATE")
            with connection:
                yield connection

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise OutputError(f"{self.path}: the batches in it cannot be read or written: {error}") from error

    def _connection(self) -> sqlite3.Connection | None:
        """Return the open file; None for one that is only read and has no batches."""
        if self._open is None and self._read_only:
            self._open = _connect_to_read(self.path)
        elif self._open is None:
            self._open = _connect(self.path)
        return self._open


def _connect(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=60, isolation_level=None)
    # On the disk and not only out of the process: a power cut must not lose what is paid for.
    connection.execute("PRAGMA synchronous = FULL")
    for statement in _SCHEMA:
        connection.execute(statement)
    return connection


def _connect_to_read(path: Path) -> sqlite3.Connection | None:
    if not path.exists():
        return None
    # Without a log next to it SQLite would make one, unless it may take the file for one that nobody changes.
    logged = path.with_name(f"{path.name}-wal").exists()
    address = f"{path.absolute().as_uri()}?mode=ro{'' if logged else '&immutable=1'}"
    connection = sqlite3.connect(address, uri=True, timeout=60, isolation_level=None)
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'batched'").fetchall():
        return connection
    connection.close()
    return None
