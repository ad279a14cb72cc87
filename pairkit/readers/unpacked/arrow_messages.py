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
FOOTER_END = 10  # bytes after the footer of an IPC file: its length, and ARROW1


class Message(NamedTuple):
    """A batch of rows, or of the texts of a dictionary: bytes in the file, and bytes in memory."""

    is_rows: bool
    packed: int
    unpacked: int


def batch_messages(source: pa.NativeFile, *, is_file: bool) -> Iterator[Message]:
    """Yield the batches of an IPC file, or of a stream.

    Raises `pa.ArrowException` or `OSError` for messages that are damaged.
    """
    for message in _of_file(source) if is_file else _of_stream(source):
        batch = _batch(message)
        if batch is not None:
            yield batch


def _of_stream(source: pa.NativeFile) -> Iterator[pa.Message]:
    source.seek(0)
    reader = pa.ipc.MessageReader.open_stream(source)
    while True:
        try:
            yield reader.read_next_message()
        except StopIteration:
            return


def _of_file(source: pa.NativeFile) -> Iterator[pa.Message]:
    """Yield the messages that the footer names, which are those that Arrow reads."""
    end = source.size() - FOOTER_END
    try:
        source.seek(end)
        (length,) = U32.unpack(source.read(4))
        source.seek(end - length)
        footer = source.read(length)
        (table,) = U32.unpack_from(footer, 0)
        places = [place for kind in (2, 3) for place in _blocks(footer, _field(footer, table, kind))]
    except (IndexError, ValueError, StructError) as error:
        raise pa.ArrowInvalid("the footer is damaged") from error
    for place in places:
        source.seek(place)
        yield pa.ipc.read_message(source)


def _blocks(footer: bytes, place: int) -> list[int]:
    """Return the offsets of a vector of blocks, structs of 24 bytes; an absent vector has none."""
    if not place:
        return []
    vector = _target(footer, place)
    (count,) = U32.unpack_from(footer, vector)
    return [I64.unpack_from(footer, vector + 4 + 24 * each)[0] for each in range(count)]


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
        size = sum(_unpacked(body, *place) if compressed else place[1] for place in places)
    except (IndexError, ValueError, StructError) as error:
        raise pa.ArrowInvalid("a message is damaged") from error
    return Message(kind == BATCH, len(content) + (0 if body is None else body.size), size)


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
