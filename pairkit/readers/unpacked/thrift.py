"""Structs of Thrift's compact protocol as field number -> value, for what pyarrow does not tell of a file.

Texts are left out, because none is needed. The protocol:
https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

LEVELS = 16  # Parquet nests fewer


class NotThrift(ValueError):
    """Bytes that are no struct of the protocol."""


def read_struct(stream: BytesIO, levels: int = LEVELS) -> dict[int, Any]:
    """Read a struct. Raises `EOFError` if the stream ends within it, `NotThrift` for what is none."""
    if not levels:
        raise NotThrift("nested too deeply")
    fields: dict[int, Any] = {}
    number = 0
    while byte := _byte(stream):
        number = number + (byte >> 4) if byte >> 4 else _zigzag(stream)
        kind = byte & 15
        # A boolean field is its own value.
        fields[number] = kind == 1 if kind in (1, 2) else _value(stream, kind, levels)
    return fields


def _value(stream: BytesIO, kind: int, levels: int) -> Any:
    if kind in (1, 2, 3):
        return _byte(stream)
    if kind in (4, 5, 6):
        return _zigzag(stream)
    if kind in (7, 8):
        length = 8 if kind == 7 else _varint(stream)
        if len(stream.read(length)) < length:
            raise EOFError
        return None
    if kind == 9:
        byte = _byte(stream)
        count = byte >> 4 if byte >> 4 < 15 else _varint(stream)
        return [_value(stream, byte & 15, levels) for _ in range(count)]
    if kind == 12:
        return read_struct(stream, levels - 1)
    raise NotThrift(f"no type {kind}")


def _byte(stream: BytesIO) -> int:
    byte = stream.read(1)
    if not byte:
        raise EOFError
    return byte[0]


def _varint(stream: BytesIO) -> int:
    value = shift = 0
    while True:
        byte = _byte(stream)
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value
        if shift > 63:
            raise NotThrift("a number of more than 64 bits")


def _zigzag(stream: BytesIO) -> int:
    value = _varint(stream)
    return (value >> 1) ^ -(value & 1)
