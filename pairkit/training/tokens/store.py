"""Tokenized sets in files: made once by one process, mapped into memory by all of them and by later runs.

A file is named by a hash of all that its tokens depend on, so that it is never out of date: what changes a
token changes the name. It is a cache, and may be deleted at any time; one that is damaged is made anew.
"""

from __future__ import annotations

import inspect
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pyarrow as pa

from pairkit.errors import InputError
from pairkit.files import replacing
from pairkit.models import chat
from pairkit.progress import console
from pairkit.schema import short_hash
from pairkit.training.distributed.processes import ALONE, Processes
from pairkit.training.tokens import sets, tokenize
from pairkit.training.tokens.sets import SCHEMA, Tokenized

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Make = Callable[[], Iterator[pa.RecordBatch]]
SIGN_SECONDS = 30  # between two signs of life of the process that tokenizes: a collective call times out
ABANDONED_SECONDS = 3600  # without a write, after which nobody finishes a half-written file
CHECKSUM = b"crc32"


def tokens_key(tokenizer: PreTrainedTokenizerBase, **settings: Any) -> str | None:
    """A hash of what token ids depend on: the tokenizer's content, the settings, the code that makes them.

    None for a tokenizer whose content does not say what it does: one with code of its own.

    Args:
        settings: JSON of the data and of what is asked of `tokenizing.token_batches`.
    """
    import tokenizers
    import transformers

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or type(tokenizer).__module__.split(".")[0] != "transformers":
        return None
    backend.no_truncation()  # neither is a part of the tokens: every call turns both off
    backend.no_padding()
    try:
        content = backend.to_str()
    except Exception:  # tokenizers has no other: a component written in Python
        return None
    special = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    # The code itself, because a version number is forgotten where a comment is not.
    code = [inspect.getsource(module) for module in (chat, tokenize, sets)]
    versions = [transformers.__version__, tokenizers.__version__]
    kind = type(tokenizer).__name__
    return short_hash([kind, content, tokenizer.chat_template, special, settings, code, versions])


@dataclass(frozen=True)
class TokenStore:
    """Where tokenized sets are kept.

    Attributes:
        folder: None keeps nothing.
        write: whether what is missing is written; else it is made in memory.
        processes: the first process tokenizes and writes, the others wait.
    """

    folder: Path | None = None
    write: bool = True
    processes: Processes = ALONE

    def sets(self, key: Callable[[], str | None], make: Make) -> Tokenized:
        """The sets of a key: those of its file, else what `make` makes.

        Raises:
            InputError: a process does not find what the first has written.
            OutputError: the file cannot be written.
        """
        name = self.processes.broadcast_from_main(key) if self.folder else None
        if self.folder is None or name is None:
            return Tokenized(list(make()))
        path = self.folder / f"{name}.arrow"
        if not self.processes.broadcast_from_main(lambda: _open(path, check=True) is not None):
            if not self.write:
                return Tokenized(list(make()))
            self._make(path, make)
        found = _open(path, check=False)
        if found is None:
            raise InputError(f"{path}: not found; all processes need the same file system")
        return found

    def _make(self, path: Path, make: Make) -> None:
        """The first process writes the file. The others wait in calls that are answered now and then."""
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
    """Another run may be writing the same file: each writes to a name of its own, and the last one stays."""
    for left in path.parent.glob(".*.arrow.*"):
        with suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > ABANDONED_SECONDS:
                left.unlink()
    with (
        replacing(path, own=uuid4().hex) as temporary,
        temporary.open("wb") as sink,
        pa.ipc.new_file(sink, _schema(path)) as writer,
    ):
        for batch in batches:
            writer.write_batch(batch, custom_metadata={CHECKSUM: _checksum(batch)})


def _open(path: Path, *, check: bool) -> Tokenized | None:
    """The sets in a file, which stays mapped; None where there is none, or where it is no longer whole.

    With `check` every byte is read once.
    """
    if not path.exists():
        return None
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        if not reader.schema.equals(_schema(path), check_metadata=True):
            raise pa.ArrowInvalid("of other tokens")
        batches = []
        for i in range(reader.num_record_batches):
            batch, said = reader.get_batch_with_custom_metadata(i)
            batch.validate(full=True)  # offsets that point nowhere would end the process
            if check and said.get(CHECKSUM) != _checksum(batch):
                raise pa.ArrowInvalid("not what was written")
            batches.append(batch)
    except (pa.ArrowException, OSError) as error:
        console.print(f"{path}: damaged ({error}); tokenizing again", markup=False)
        return None
    return Tokenized(batches)


def _checksum(batch: pa.RecordBatch) -> bytes:
    return b"%08x" % zlib.crc32(batch.serialize())


def _schema(path: Path) -> pa.Schema:
    """The file says itself which key it is of: its name may be given to another one's."""
    return SCHEMA.with_metadata({"key": path.stem})
