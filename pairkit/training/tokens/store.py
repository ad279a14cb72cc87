"""Tokenized sets in files: made once by one process, mapped into memory by all processes and by later runs.

A file is named by a hash of everything its tokens depend on but the day: what changes a token changes the
name. A template that writes today's date (`strftime_now`) keeps the day on which its tokens were made, so
that a run that resumes another day continues with the tokens that it has. It is a cache and may be deleted
at any time; a damaged file is written again.
"""

from __future__ import annotations

import inspect
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pyarrow as pa

from pairkit.errors import InputError
from pairkit.files import replacing
from pairkit.models import chat
from pairkit.models.chat.identity import tokenizer_content, written_down
from pairkit.progress import warn
from pairkit.schema import short_hash
from pairkit.training import tokens
from pairkit.training.distributed.processes import ALONE, Processes
from pairkit.training.tokens.sets import SCHEMA, Tokenized

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Make = Callable[[], Iterator[pa.RecordBatch]]
SIGN_SECONDS = 30  # between signs of life of the tokenizing process, because a collective call times out
ABANDONED_SECONDS = 3600  # without a write, after which a half-written file is nobody's
CHECKSUM = b"crc32"


def tokens_key(tokenizer: PreTrainedTokenizerBase, **settings: Any) -> str | None:
    """Hash what token ids depend on: the tokenizer's content, the settings, and the code that makes them.

    Returns None for a tokenizer with code of its own, because its content does not determine what it does.

    Args:
        settings: the data's hashes, `ChatFormat.identity` and the arguments of `tokenize.token_batches`, as
            JSON values.
    """
    import tokenizers
    import transformers

    if written_down(tokenizer) is None:
        return None
    versions = [transformers.__version__, tokenizers.__version__]
    content = [tokenizer_content(tokenizer), tokenizer.chat_template]
    return short_hash([content, settings, _code(), versions])


def _code() -> list[str]:
    """Return the source code that makes tokens: itself, because nobody can forget to change it."""
    return [
        inspect.getsource(import_module(f"{package.__name__}.{module.name}"))
        for package in (chat, tokens)
        for module in iter_modules(package.__path__)
        if module.name != __name__.rpartition(".")[2]  # stores what the others make
    ]


@dataclass(frozen=True)
class TokenStore:
    """Where tokenized sets are kept.

    Attributes:
        folder: where the files are; None stores nothing.
        write: whether missing sets are written; otherwise they are made in memory.
        processes: the main process tokenizes and writes, the others wait.
    """

    folder: Path | None = None
    write: bool = True
    processes: Processes = ALONE

    def sets(self, key: Callable[[], str | None], make: Make) -> Tokenized:
        """Return the sets of a key: those of its file, else what `make` makes.

        Raises:
            InputError: a process does not find what the main one has written.
            OutputError: the file cannot be written.
        """
        # From one process, because with names that differ the others would wait for a file that never comes.
        name = self.processes.broadcast_from_main(key) if self.folder else None
        if self.folder is None or name is None:
            return Tokenized(list(make()))
        path = self.folder / f"{name}.arrow"
        # One process decides for all, or some would tokenize and others not.
        if not self.processes.broadcast_from_main(lambda: _open(path, check=True) is not None):
            if not self.write:
                return Tokenized(list(make()))
            self._make(path, make)
        tokenized = _open(path, check=False)  # the main process has checked every byte
        if tokenized is None:
            raise InputError(
                f"{path}: not found in process {self.processes.rank}; all must share a file system"
            )
        return tokenized

    def _make(self, path: Path, make: Make) -> None:
        """Write the file in the main process.

        Tokenizing may take longer than a collective call waits, so the others wait in one short call after
        another: the main process answers False now and then, and True when it is done.
        """
        if self.processes.main:
            _write(path, self._with_signs(make()))
        while not self.processes.broadcast_from_main(lambda: True):
            pass

    def _with_signs(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        last = time.monotonic()
        for batch in batches:
            yield batch
            if time.monotonic() - last > SIGN_SECONDS:
                self.processes.broadcast_from_main(lambda: False)
                last = time.monotonic()


NOT_KEPT = TokenStore()


def _write(path: Path, batches: Iterator[pa.RecordBatch]) -> None:
    """Write the file under a name of its own, then rename it.

    Another run may be writing the same file; both write equal sets, and the last one stays.
    """
    for leftover in path.parent.glob(".*.arrow.*"):
        with suppress(FileNotFoundError):
            if time.time() - leftover.stat().st_mtime > ABANDONED_SECONDS:
                leftover.unlink()
    with (
        replacing(path, own=uuid4().hex) as temporary,
        temporary.open("wb") as sink,
        pa.ipc.new_file(sink, _schema(path)) as writer,
    ):
        for batch in batches:
            writer.write_batch(batch, custom_metadata={CHECKSUM: _checksum(batch)})


def _open(path: Path, *, check: bool) -> Tokenized | None:
    """Map a file's sets; None where there is no file or it is damaged.

    Args:
        check: read every byte once and compare checksums.
    """
    if not path.exists():
        return None
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        if not reader.schema.equals(_schema(path), check_metadata=True):
            raise pa.ArrowInvalid("it belongs to other tokens")
        batches = []  # views of the mapped file
        for i in range(reader.num_record_batches):
            batch, metadata = reader.get_batch_with_custom_metadata(i)
            batch.validate(full=True)  # because offsets that point nowhere would crash the process
            if check and metadata.get(CHECKSUM) != _checksum(batch):
                raise pa.ArrowInvalid("checksum mismatch")
            batches.append(batch)
    except (pa.ArrowException, OSError) as error:
        warn(f"{path}: damaged ({error}); tokenizing again")
        return None
    return Tokenized(batches)


def _checksum(batch: pa.RecordBatch) -> bytes:
    return b"%08x" % zlib.crc32(batch.serialize())


def _schema(path: Path) -> pa.Schema:
    """Name the key in the file itself, because a file can be renamed."""
    return SCHEMA.with_metadata({"key": path.stem})
