"""Columns that no field reads: which they are, and whether the metadata of a set keeps them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pyarrow as pa

from pairkit.arrow import is_json, is_list, is_text
from pairkit.readers.survey import Survey
from pairkit.sources.layouts.layout import Layout
from pairkit.sources.layouts.paths import Types

# Of sets that pairkit wrote, next to `metadata`.
IDENTITY = ("set_id", "prompt_id", "source")


def unread_columns(layout: Layout, used: Collection[str], survey: Survey) -> dict[str, float]:
    """Return the share of rows with a value of each column that is not in `used`, in the file's order.

    Columns without any value are left out, as are those by which pairkit identifies its own sets.
    """
    own = (*IDENTITY, "metadata") if is_own(survey.columns) else ()
    return {
        name: survey.non_null[name] / survey.rows
        for name in survey.columns
        if survey.non_null[name] and name not in used and name not in own
    }


def is_own(columns: Types) -> bool:
    """Return whether rows with these columns are sets that pairkit wrote, with metadata of their own."""
    return {*IDENTITY, "metadata"} <= set(columns) and all(is_text(kind) for kind in columns["metadata"])


def repeats_the_pair(layout: Layout, fields: Mapping[str, str], name: str) -> bool:
    """Return whether a column repeats prompt and chosen, as `messages` does next to a prompt column."""
    return layout.shape == "pairs" and "prompt" in fields and name == "messages"


def is_kept(layout: Layout, fields: Mapping[str, str], columns: Types, name: str) -> bool:
    """Return whether an unread column becomes metadata."""
    lost = is_own(columns) or repeats_the_pair(layout, fields, name)
    return not lost and any(_has_json(kind) for kind in columns[name])


def _has_json(kind: pa.DataType) -> bool:
    """Return whether values of a type, or a part of them, have a form in JSON: bytes have none."""
    if is_json(kind) or is_text(kind):
        return True
    if is_list(kind):
        return _has_json(kind.value_type)
    if pa.types.is_struct(kind) or pa.types.is_union(kind):
        return any(_has_json(field.type) for field in kind)
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_temporal(kind)
    )
