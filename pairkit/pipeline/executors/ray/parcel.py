"""What travels between the processes of a cluster: one row per unit, whatever Ray does with its blocks.

A unit is one row, its number and its content as bytes: so no block that Ray cuts or joins divides a unit, and
nothing depends on the order in which blocks arrive.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from typing import Any, NamedTuple

import pyarrow as pa

from pairkit.errors import PairkitError
from pairkit.pipeline.model_stages import Item
from pairkit.pipeline.unit import FinishedUnit
from pairkit.schema import StageResult

ROW = pa.schema([("number", pa.int64()), ("parcel", pa.large_binary())])


class Parcel(NamedTuple):
    """A unit on its way through the stages.

    Attributes:
        item: the unit, and how many stages that ask a model have been run on it.
        results: of the stages that ask a model and ran here: how many have run after it, and its result.
        finished: the unit after the last stage.
        error: why the build has to stop.
        usage: of each process that has worked on it, what its engines have spent so far.
        said: what these processes have logged.
    """

    item: Item
    results: tuple[tuple[int, StageResult], ...] = ()
    finished: FinishedUnit | None = None
    error: PairkitError | None = None
    usage: Mapping[str, Mapping[str, float]] = {}
    said: tuple[str, ...] = ()


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        # As a stream and not as pyarrow pickles it, which is with all that a slice was cut from.
        if isinstance(value, pa.Table):
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, value.schema) as writer:
                writer.write_table(value)
            return _table, (pickle.PickleBuffer(sink.getvalue()),)
        if isinstance(value, pa.ChunkedArray):
            return _column, (pa.table({"": value}),)
        return NotImplemented


def _table(content: Any) -> pa.Table:
    return pa.ipc.open_stream(pa.py_buffer(content)).read_all()


def _column(table: pa.Table) -> pa.ChunkedArray:
    return table.column(0)


def pack(value: Any) -> bytes:
    """Return a value of tables and plain values as bytes."""
    sink = io.BytesIO()
    _Pickler(sink, protocol=5).dump(value)
    return sink.getvalue()


def unpack(content: bytes | memoryview) -> Any:
    """Return the value that `pack` has packed; only for bytes of one's own cluster."""
    return pickle.loads(content)


def row(number: int, parcel: Parcel | None = None) -> pa.Table:
    """Return a block of one row; without a parcel, its content is still with the feed."""
    content = None if parcel is None else pack(parcel)
    return pa.table([pa.array([number], pa.int64()), pa.array([content], pa.large_binary())], schema=ROW)
