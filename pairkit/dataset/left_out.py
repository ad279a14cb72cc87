"""Why a set makes no row of an export: it forms no pair, or the consumer has no place for what it holds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import Mask, filled, flatten, list_indices, mask, present
from pairkit.dataset import extras, views
from pairkit.dataset.chat_json import map_json
from pairkit.dataset.formats import FORMATS
from pairkit.schema import ROLES


def reasons(sets: pa.Table, name: str) -> pa.ChunkedArray:
    """Tell for each set why it makes no row of the format `name`; null where it makes one."""
    row_format = FORMATS[name]
    chunks = []
    for batch in sets.to_batches():
        batch_reasons = pa.nulls(batch.num_rows, pa.string())
        if row_format.made_of != "sets":
            batch_reasons = views.without_pair(batch, labels=row_format.made_of == "completions")
        marks = extras.marks(batch)
        problems = [
            (f"holds_{extra}", marks[extra]) for extra in extras.EXTRAS if extra not in row_format.carries
        ]
        problems += [(reason, check(batch)) for reason, check in CHECKS.get(name, {}).items()]
        for reason, where in problems:
            # The first reason counts: a set is left out once.
            batch_reasons = pc.coalesce(batch_reasons, pc.if_else(pa.array(where), pa.scalar(reason), None))
        chunks.append(batch_reasons)
    return pa.chunked_array(chunks, pa.string())


def turns_do_not_alternate(sets: pa.RecordBatch) -> Mask:
    """Mark prompts that are not user, assistant, user, ..., after at most one system turn.

    The result of a tool takes the place of the user's turn.
    """
    prompts = sets["prompt"]
    roles = pc.index_in(pc.struct_field(pc.list_flatten(prompts), "role"), pa.array(ROLES)).to_numpy()
    roles = np.where(roles == ROLES.index("tool"), ROLES.index("user"), roles)
    lengths = pc.list_value_length(prompts).to_numpy()
    starts = np.cumsum(lengths) - lengths
    owners = np.repeat(np.arange(len(lengths)), lengths)
    turn = np.arange(len(roles)) - starts[owners] - (roles[starts] == 0)[owners]
    expected = np.where(turn < 0, 0, 1 + turn % 2)
    set_mask = np.zeros(len(lengths), np.bool_)
    set_mask[owners[roles != expected]] = True
    return set_mask


def text_beside_tool_calls(sets: pa.RecordBatch) -> Mask:
    """Mark sets in which the assistant calls a tool and writes something in the same turn."""
    set_mask = np.zeros(sets.num_rows, np.bool_)
    for column, text in (("prompt", "content"), ("completions", "text")):
        cuts, flat = flatten(sets[column])
        both = present(pc.struct_field(flat, "tool_calls")) & filled(pc.struct_field(flat, text))
        set_mask[list_indices(cuts)[both]] = True
    return set_mask


def tool_call_without_id(sets: pa.RecordBatch) -> Mask:
    """Mark sets with a tool call, or the result of one, that has no id."""
    set_mask = np.zeros(sets.num_rows, np.bool_)
    for column in ("prompt", "completions"):
        cuts, flat = flatten(sets[column])
        with_ids = map_json(
            pc.struct_field(flat, "tool_calls"), lambda calls: all(call.get("id") for call in calls)
        )
        without = mask(pc.equal(with_ids, "false"))
        if column == "prompt":
            results = mask(pc.equal(pc.struct_field(flat, "role"), "tool"))
            without |= results & ~present(pc.struct_field(flat, "tool_call_id"))
        set_mask[list_indices(cuts)[without]] = True
    return set_mask


CHECKS: dict[str, dict[str, Callable[[pa.RecordBatch], Mask]]] = {
    "openai": {"tool_call_without_id": tool_call_without_id},
    "sharegpt": {
        "turns_do_not_alternate": turns_do_not_alternate,
        "text_beside_tool_calls": text_beside_tool_calls,
    },
}
