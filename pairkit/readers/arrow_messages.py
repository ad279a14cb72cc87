"""What the batches of an Arrow file unpack to, read from their messages before Arrow unpacks any.

A message is a FlatBuffers table (https://github.com/apache/arrow, format/Message.fbs); the body of a
compressed batch has the unpacked length of each buffer before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from struct import error as StructError
from typing import NamedTuple

import pyarrow as pa

I16, I32, U32, I64 = Struct("<H"), Struct("<i"), Struct("<I"), Struct("<q")
DICTIONARY, BATCH = 2, 3  # MessageHeader
FILE_HEADER = 8  # bytes before the first message of an IPC file


class Message(NamedTuple):
    """A batch of rows, or of the texts of a dictionary: bytes in the file, and bytes in memory."""

    is_rows: bool
    packed: int
    unpacked: int


def batch_messages(source: pa.NativeFile, batches: int | None) -> Iterator[Message]:
    """Yield the batches of an IPC file of `batches` batches of rows, or of a stream (None).

    Raises `pa.ArrowException` or `OSError` for messages that are damaged.
    """
    source.seek(0 if batches is None else FILE_HEADER)
    reader = pa.ipc.MessageReader.open_stream(source)
    rows = 0
    # After the last batch of a file comes its footer, which is no message.
    while batches is None or rows < batches:
        try:
            message = reader.read_next_message()
        except StopIteration:
            return
        found = _batch(message)
        if found is not None:
            rows += found.is_rows
            yield found


def _batch(message: pa.Message) -> Message | None:
    content, body = message.metadata.to_pybytes(), message.body
    try:
        table = U32.unpack_from(content, 0)[0]
        kind = content[_field(content, table, 1)]
        if kind not in (DICTIONARY, BATCH):
            return None
        batch = _target(content, _field(content, table, 2))
        if kind == DICTIONARY:
            batch = _target(content, _field(content, batch, 1))
        buffers = _target(content, _field(content, batch, 2))
        (count,) = U32.unpack_from(content, buffers)
        places = [
            (
                I64.unpack_from(content, buffers + 4 + 16 * each)[0],
                I64.unpack_from(content, buffers + 12 + 16 * each)[0],
            )
            for each in range(count)
        ]
        compressed = bool(_field(content, batch, 3))
        unpacked = sum(_unpacked(body, *place) if compressed else place[1] for place in places)
    except (IndexError, ValueError, StructError) as error:
        raise pa.ArrowInvalid("a message is damaged") from error
    return Message(kind == BATCH, len(content) + (0 if body is None else body.size), unpacked)


def _unpacked(body: pa.Buffer, start: int, length: int) -> int:
    if not length:
        return 0
    (size,) = I64.unpack(body.slice(start, 8).to_pybytes())
    # -1 stands for a buffer that is not compressed after all.
    return length - 8 if size < 0 else int(size)


def _field(content: bytes, table: int, number: int) -> int:
    """Return where a field of a table is, 0 if it is not there."""
    vtable = table - I32.unpack_from(content, table)[0]
    place = vtable + 4 + 2 * number
    if place >= vtable + I16.unpack_from(content, vtable)[0]:
        return 0
    (offset,) = I16.unpack_from(content, place)
    return table + offset if offset else 0


def _target(content: bytes, place: int) -> int:
    return place + int(U32.unpack_from(content, place)[0])
