"""Turns and instructions before the prompt, in columns that no field of a layout or map reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from pairkit.arrow import is_json, is_list, is_text
from pairkit.errors import InputError
from pairkit.sources.layouts.field_map import columns_of
from pairkit.sources.layouts.fields import letters
from pairkit.sources.layouts.layout import Layout
from pairkit.sources.layouts.paths import Types, first_column

HISTORIES = (
    *("history", "chat_history", "conversation_history", "dialogue_history", "dialog_history"),
    *("message_history", "previous_turns", "past_turns", "prior_turns", "previous_messages"),
    *("prior_messages", "previous_conversation"),
)
SYSTEMS = ("system", "system_prompt", "system_message", "system_instruction", "sys_prompt")


def with_context(
    path: Path, columns: Types, layout: Layout, fields: Mapping[str, str], mapped: Mapping[str, Any]
) -> dict[str, str]:
    """Return the fields with a history and a system prompt that the rows have and no field reads.

    Raises `InputError` where several columns may be the history.
    """
    all_fields = dict(fields)
    if layout.expand is not None:  # its rows are made, and have other columns
        return all_fields
    field_columns = {
        first_column(each, columns)
        for name, value in fields.items()
        if name not in ("history", "system")
        for each in columns_of(value, columns)
    }
    if "system" not in mapped:
        systems = [name for name in _named(columns, SYSTEMS, is_text) if name not in field_columns]
        all_fields |= {"system": systems[0]} if systems else {}
    if "history" in mapped:
        return all_fields
    histories = [name for name in _named(columns, HISTORIES, _may_be_turns) if name not in field_columns]
    # Next to a prompt, a `context` of messages is what was said before; a text may be anything.
    histories = histories or [
        name for name in _named(columns, ("context",), _are_turns) if name not in field_columns
    ]
    if len(histories) > 1:
        raise InputError(
            f"{path}: {' and '.join(histories)} may each be what was said before the prompt; name one "
            f"of them with --map history={histories[0]}"
        )
    return all_fields | ({"history": histories[0]} if histories else {})


def other_systems(columns: Mapping[str, pa.Array], name: str) -> list[str]:
    """Return the columns that hold the system prompt where the column `name` has none."""
    types = {each: (values.type,) for each, values in columns.items()}
    systems = _named(types, SYSTEMS, is_text)
    # Not where a map names another column or a constant.
    return [each for each in systems if each != name] if name in systems else []


def _named(columns: Types, names: tuple[str, ...], fits: Callable[[pa.DataType], bool]) -> list[str]:
    """Return the columns of these names, in their order, of which values have a fitting type."""
    return [
        column
        for name in names
        for column, kinds in columns.items()
        if letters(column) == letters(name) and any(map(fits, kinds))
    ]


def _may_be_turns(kind: pa.DataType) -> bool:
    # A number is how many there were.
    return is_text(kind) or is_json(kind) or is_list(kind)


def _are_turns(kind: pa.DataType) -> bool:
    return is_list(kind) and (pa.types.is_struct(kind.value_type) or is_list(kind.value_type))
