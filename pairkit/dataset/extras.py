"""What a set holds beyond roles and contents: tools, tool calls, thoughts, arguments of the chat template.

Consumers' formats differ in what they have a place for. Most datasets have none of it, and their files keep
the columns that they always had.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import Mask, flatten, list_indices, mask, present

TOOLS, TOOL_CALLS, THOUGHTS, ARGUMENTS = EXTRAS = ("tools", "tool_calls", "thoughts", "template_arguments")
# The leaf columns of a Parquet file of sets that tell.
LEAVES = (
    "tools",
    "chat_template_kwargs",
    *(f"prompt.list.element.{name}" for name in ("role", "reasoning_content", "tool_calls")),
    *(f"completions.list.element.{name}" for name in ("reasoning_content", "tool_calls")),
)


def marks(batch: pa.RecordBatch) -> dict[str, Mask]:
    """Mark for each of `EXTRAS` the sets of a batch that hold it; of the sets, the columns `LEAVES` suffice.

    A tool's result in the prompt counts as a tool call, because who has no place for one has none for both.
    """
    calls, thoughts = (
        _with(batch, "prompt", name) | _with(batch, "completions", name)
        for name in ("tool_calls", "reasoning_content")
    )
    results = _with(batch, "prompt", "role", equal="tool")
    columns = {TOOLS: "tools", ARGUMENTS: "chat_template_kwargs"}
    whole = {
        extra: present(batch[name]) if name in batch.schema.names else np.zeros(batch.num_rows, np.bool_)
        for extra, name in columns.items()
    }
    return {**whole, TOOL_CALLS: calls | results, THOUGHTS: thoughts}


def count(batches: Iterable[pa.RecordBatch]) -> Counter[str]:
    """Count the sets that hold each of `EXTRAS`."""
    counts = Counter(dict.fromkeys(EXTRAS, 0))
    for batch in batches:
        counts.update({extra: int(sets.sum()) for extra, sets in marks(batch).items()})
    return counts


def held(batches: Iterable[pa.RecordBatch]) -> frozenset[str]:
    """Return which of `EXTRAS` any set holds."""
    return frozenset(extra for extra, number in count(batches).items() if number)


def _with(batch: pa.RecordBatch, column: str, name: str, *, equal: str | None = None) -> Mask:
    """Mark the sets in which a message or completion has a value (or the value `equal`) in a field."""
    set_mask = np.zeros(batch.num_rows, np.bool_)
    # Of a file of version 1, no column may be left of `LEAVES`, and its structs lack the field.
    if column not in batch.schema.names:
        return set_mask
    cuts, flat = flatten(batch[column])
    if name in {field.name for field in flat.type}:
        values = pc.struct_field(flat, name)
        if values.null_count < len(values):
            owners = list_indices(cuts)
            set_mask[owners[present(values) if equal is None else mask(pc.equal(values, equal))]] = True
    return set_mask
