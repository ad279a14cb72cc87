"""What one JSON object is: a row, rows under a key, or a table in one of pandas' orientations.

pandas writes `{"prompt": {"0": ..}}` (columns, its default), `{"0": {"prompt": ..}}` (index), and objects
with `columns` and `data` (split), or `schema` and `data` (table). Exports and APIs put the rows under a key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from pairkit.errors import InputError, listed
from pairkit.readers.blocks import refuse_duplicates

# Of columns that a row has and what is around rows has not: these tell one row from an object of rows.
ROW_NAMES = frozenset(
    (
        *("prompt", "instruction", "question", "query", "input", "context", "history", "post"),
        *("dialog", "dialogue", "messages", "conversations", "conversation", "chosen", "rejected"),
        *("preferred_output", "message_1", "message_2"),
    )
)
# Keys under which exports and APIs put their rows.
WRAPPERS = frozenset(
    (
        *("data", "rows", "items", "examples", "records", "instances", "entries", "samples", "results"),
        *("dataset", "export", "train", "test", "validation"),
    )
)
# Next to the rows, what describes their file; anything else is said of every row.
OF_THE_FILE = frozenset(
    (
        *(
            "version",
            "schema_version",
            "$schema",
            "schema",
            "features",
            "columns",
            "format",
            "object",
            "split",
        ),
        *("count", "total", "total_count", "num_rows", "num_rows_total", "num_rows_per_page", "num_examples"),
        *("size", "length", "page", "per_page", "limit", "offset", "next", "previous", "has_more", "cursor"),
        *("meta", "metadata", "info", "stats", "statistics", "partial", "status", "success", "ok", "error"),
        *("errors", "message", "license", "licence", "citation", "homepage", "description"),
        *("created", "created_at", "updated_at", "date", "timestamp"),
    )
)
PROMPT_NAMES = frozenset(("prompt", "instruction", "question", "query"))
NUMBER = re.compile(r"-?\d+")
INDEX = "index"
MESSAGE_KEYS = ({"role", "content"}, {"role", "tool_calls"}, {"from", "value"})


MAX_WRAPPERS = 8


def rows_of(value: Mapping[str, Any], path: Path, wrappers: int = MAX_WRAPPERS) -> list[Any] | None:
    """Return the rows that an object holds, or None if it is one row.

    The rows may be `wrappers` keys deep. The index of a data frame becomes a column `index`, unless it only
    counts the rows.
    Raises `InputError` for an object that could be read in two ways.
    """
    if isinstance(value.get("data"), list):
        if isinstance(value.get("columns"), list) and set(value) <= SPLIT:
            return _split(value, path)
        if isinstance(value.get("schema"), dict) and set(value) <= {"schema", "data"}:
            return _table(value)
    if len(value) and all(isinstance(item, dict) for item in value.values()):
        rows = _objects_of_objects(value)
        if rows is not None:
            return rows
    by_lines = bool({".jsonl", ".ndjson"} & {suffix.lower() for suffix in path.suffixes})
    if _are_columns(value, by_lines=by_lines):
        return _from_columns(value)
    _refuse_unequal_columns(value, path)
    return _wrapped(value, path, wrappers, by_lines=by_lines)


SPLIT = {"columns", "index", "data", "index_names", "column_names"}  # the last two of orient="tight"


def _split(value: Mapping[str, Any], path: Path) -> list[Any]:
    names, rows, index = value["columns"], value["data"], value.get("index") or []
    widths = {len(row) if isinstance(row, list) else -1 for row in rows} - {len(names)}
    if widths or not all(isinstance(name, str) for name in names):
        raise InputError(
            f"{path}: `data` has to be lists of one value for each of the {len(names)} names in `columns`; "
            "write the data frame again with orient='records'"
        )
    refuse_duplicates(names, path)
    if index and (not isinstance(index, list) or len(index) != len(rows)):
        raise InputError(
            f"{path}: `index` has to be a list of one value for each of the {len(rows)} rows; "
            "write the data frame again with orient='records'"
        )
    return _indexed([dict(zip(names, row, strict=True)) for row in rows], index)


def _table(value: Mapping[str, Any]) -> list[Any]:
    # The index is a field of each row, with this name where the frame's has none.
    objects = all(isinstance(row, dict) for row in value["data"])
    if not objects or value["schema"].get("primaryKey") != [INDEX]:
        return list(value["data"])
    rows = [dict(row) for row in value["data"]]
    return _indexed(rows, [row.pop(INDEX, None) for row in rows])


def _objects_of_objects(value: Mapping[str, Mapping[str, Any]]) -> list[Any] | None:
    first, *others = (set(item) for item in value.values())
    outer = all(NUMBER.fullmatch(name) for name in value)
    if outer or (all(_has_row_names(row) for row in value.values()) and not _has_row_names(value)):
        return _indexed([dict(row) for row in value.values()], list(value))
    if first and all(NUMBER.fullmatch(name) for name in first) and all(first == keys for keys in others):
        keys = list(next(iter(value.values())))
        return _indexed([{name: items[key] for name, items in value.items()} for key in keys], keys)
    return None


def _indexed(rows: list[Any], index: Sequence[Any]) -> list[Any]:
    """Add the index as a column, unless it only counts the rows or a column has its name."""
    counts = [str(key) for key in index] == [str(number) for number in range(len(rows))]
    if not index or counts or any(INDEX in row for row in rows):
        return rows
    return [{**row, INDEX: key} for row, key in zip(rows, index, strict=True)]


def _are_columns(value: Mapping[str, Any], *, by_lines: bool) -> bool:
    """Return whether an object is columns as lists, as `Dataset.to_dict` writes them."""
    if not value or not all(isinstance(item, list) and item for item in value.values()):
        return False
    if len({len(item) for item in value.values()}) > 1:
        return False
    objects = {name for name, item in value.items() if any(isinstance(each, dict) for each in item)}
    row_names = [name for name in value if name.lower() in ROW_NAMES]
    # In one row these are a text or messages, never a list of texts or of lists.
    if row_names:
        return not objects.intersection(row_names)
    # In a file of lines, an object of lists is more likely a row.
    return not objects and not by_lines


def _refuse_unequal_columns(value: Mapping[str, Any], path: Path) -> None:
    """Raise `InputError` for columns of different lengths: no row has a list of texts for its prompt."""
    prompts = [name for name in value if name.lower() in PROMPT_NAMES]
    if not prompts or not all(_are_texts(item) for item in value.values()):
        return
    if len({len(item) for item in value.values()}) > 1:
        lengths = listed([f"{name} ({len(item):,})" for name, item in value.items()], 600)
        raise InputError(
            f"{path}: columns with different numbers of values: {lengths}; give each one per row"
        )


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, str) for item in value)


def _from_columns(value: Mapping[str, Sequence[Any]]) -> list[Any]:
    return [dict(zip(value, cells, strict=True)) for cells in zip(*value.values(), strict=True)]


def _wrapped(value: Mapping[str, Any], path: Path, wrappers: int, *, by_lines: bool) -> list[Any] | None:
    """Return the only list of objects that is no part of a row, each with what is said of all of them."""
    object_lists = {name: item for name, item in value.items() if _holds_objects(item)}
    of_rows = [name for name, item in object_lists.items() if any(_has_row_names(row) for row in item)]
    # Any other list of objects (annotations, summaries) is as likely a part of one row.
    alone = len(value) == 1 or not by_lines
    lists = {
        name: item
        for name, item in object_lists.items()
        # In a file of lines, a name that rows have is more likely that of a row's own list.
        if (name in of_rows and (alone or name.lower() not in ROW_NAMES)) or name.lower() in WRAPPERS
    }
    # A name that rows also have, such as `conversations`, may be the one that they are under.
    if _has_row_names(set(value).difference(of_rows)):
        # One row may have a list of objects, such as completions with their models.
        if not of_rows or by_lines:
            return None
        raise InputError(
            f"{path}: may be one row, or the rows under {of_rows[0]!r}; write that list alone to a file, or "
            "one row per line to a .jsonl file"
        )
    if len(lists) > 1:
        names = ", ".join(repr(name) for name in lists)
        raise InputError(
            f"{path}: holds several lists of objects ({names}); write the one to read to a file of its own, "
            f"as in: jq '.{next(iter(lists))}' {path.name} > rows.json"
        )
    if lists:
        ((name, rows),) = lists.items()
        return [{**row, **_said_of_all(value, {name, *row})} for row in rows]
    # One key around another, as in {"result": {"rows": [...]}}.
    inner = next(iter(value.values())) if len(value) == 1 else None
    return rows_of(inner, path, wrappers - 1) if isinstance(inner, dict) and wrappers else None


def _said_of_all(value: Mapping[str, Any], names: Set[str]) -> dict[str, Any]:
    return {
        name: item for name, item in value.items() if name not in names and name.lower() not in OF_THE_FILE
    }


def _holds_objects(value: Any) -> bool:
    if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
        return False
    return not all(_is_message(item) for item in value)


def _is_message(value: Mapping[str, Any]) -> bool:
    # A role alone is not enough, because rows of message trees have one too.
    return any(keys <= set(value) for keys in MESSAGE_KEYS)


def _has_row_names(names: Any) -> bool:
    return any(name.lower() in ROW_NAMES for name in names)
