"""The batch that is being filled: its lines in a file without a name, its rows in memory."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pairkit.engines.openai.account import Tokens
from pairkit.engines.openai.batch.lines import request_line, without_prompt
from pairkit.engines.openai.batch.store import Batch, Row, custom_id_of
from pairkit.engines.openai.usage import fewest_tokens
from pairkit.engines.recipe import BatchSettings
from pairkit.errors import OutputError


class PendingBatch:
    """Requests that are not submitted yet; the file goes with the process, however that ends."""

    def __init__(self, folder: Path) -> None:
        try:
            # Next to the cache, because /tmp may be small and in memory.
            folder.mkdir(parents=True, exist_ok=True)
            self.file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        except OSError as error:
            raise OutputError(f"{folder}: the file of a batch cannot be written: {error.strerror}") from error
        self.name = f"pairkit-{uuid.uuid4().hex}"
        self.rows: dict[str, Row] = {}
        self.size = 0

    def __contains__(self, key: bytes) -> bool:
        return custom_id_of(key) in self.rows

    def has_room(self, line: bytes, limits: BatchSettings) -> bool:
        """Return whether a further line keeps to the limits of a batch."""
        return len(self.rows) < limits.requests and self.size + len(line) <= limits.megabytes * 1e6

    def add(self, line: bytes, row: Row) -> None:
        """Add a request."""
        self.file.write(line)
        self.rows[row.custom_id] = row
        self.size += len(line)

    def keep(self, stays: Callable[[Row], bool]) -> None:
        """Remove the requests for which `stays` is false, as of those that others have submitted."""
        rows = list(self.rows.values())
        if all(mask := [stays(row) for row in rows]):
            return
        self.file.seek(0)
        # One line per row, in the same order.
        lines = [line for line, stay in zip(self.file, mask, strict=True) if stay]
        self.file.seek(0)
        self.file.truncate()
        self.file.writelines(lines)
        self.rows = {row.custom_id: row for row, stay in zip(rows, mask, strict=True) if stay}
        self.size = sum(map(len, lines))

    def batch(self, server: str) -> Batch:
        """Return the batch of these requests."""
        most = most_of(self.rows)
        return Batch(self.name, server, len(self.rows), most.prompt, most.completion)

    def close(self) -> None:
        """Close the file, which is gone with that."""
        # What is not written yet is not wanted any more.
        with suppress(OSError):
            self.file.close()


def most_of(rows: dict[str, Row]) -> Tokens:
    """Return the most tokens of all these requests."""
    return Tokens(sum(row.prompt for row in rows.values()), sum(row.completion for row in rows.values()))


def row_and_line(key: bytes, body: dict[str, Any], most: Tokens) -> tuple[Row, bytes]:
    """Return a call of that key as a row and as a line."""
    custom_id = custom_id_of(key)
    row = Row(custom_id, key, without_prompt(body), fewest_tokens(body), most.prompt, most.completion)
    return row, request_line(custom_id, body)
