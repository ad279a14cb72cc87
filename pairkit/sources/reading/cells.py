"""Cells whose texts hold more than a text: dialogues, lists of completions, turns of a history.

Such cells are parsed, one by one, because no columnar parser takes JSON of any shape. Rows that then have
other types than the rest are read apart and put back into their places, so that one column may hold both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import Mask, flatten, is_list, is_text, list_indices, mask, present
from pairkit.readers.json_rows import row_tables
from pairkit.readers.written.exact_json import as_known
from pairkit.readers.written.raw_values import Raw
from pairkit.sources.reading.columns import Columns
from pairkit.sources.reading.dialogues import MAYBE, dialogue_in, speaker_of
from pairkit.sources.reading.literals import OtherKind, parse
from pairkit.sources.reading.roles import known_roles, normal
from pairkit.sources.reading.transcripts import SPELLED, SPELLED_OTHERWISE, transcript_in


class Cells(NamedTuple):
    """How the texts of a column are parsed that hold more than a text.

    `begins` is the beginning of such texts, a regular expression of Rust; None: every text is parsed. `parse`
    gets a text and the known roles and returns what it holds, None if it is a text; it raises `ValueError`
    with what is wrong with it.
    """

    begins: str | None
    parse: Callable[[str, Mapping[str, str]], Any]


def read_apart(
    columns: Columns, cells: Mapping[str, Cells], read: Callable[[Columns], Sequence[pa.Array | None]]
) -> list[pa.Array | None]:
    """Return what `read` makes of `columns`, one value per row, with the cells of some columns parsed.

    Cells that cannot be parsed are reported; their rows are null in the result.
    """
    names = [name for name in cells if name in columns and _holds_texts(columns.arrays[name].type)]
    cell_values = {name: _parse(columns, name, cells[name]) for name in names}
    rows = np.unique([row for cells in cell_values.values() for row in cells]).astype(np.int64)
    if not len(rows):
        return list(read(columns))
    plain = np.setdiff1d(np.arange(columns.size), rows)
    parts = [_subset(columns, plain, {})] if len(plain) else []
    parts += _parsed_parts(columns, rows, names, cell_values)
    parts = parts or [_subset(columns, rows[:0], {})]
    return _in_order(columns.size, [(places, read(part)) for part, places in parts])


def list_cell(text: str, roles: Mapping[str, str]) -> Any:
    """Parse a text that has to be a list or an object; of a list of texts, each may be a dialogue."""
    messages = dialogue_in(text, roles)
    if messages is not None:
        return messages
    try:
        value = parse(text)
    except ValueError as error:
        raise ValueError(f"is not a JSON list: it {error}") from None
    if not isinstance(value, list | dict):
        raise ValueError("is not a JSON list")
    return value if isinstance(value, dict) else dialogues_of(value, roles) or value


DIALOGUE = Cells(MAYBE, dialogue_in)
PROMPT = Cells(rf"{MAYBE}|{SPELLED}", lambda text, roles: transcript_in(text) or dialogue_in(text, roles))
REPLY = Cells(PROMPT.begins, lambda text, roles: transcript_in(text, reply=True) or dialogue_in(text, roles))
# Of dialogues, where no other column holds the prompt.
WHOLE = Cells(rf"{MAYBE}|{SPELLED_OTHERWISE}", REPLY.parse)
LIST = Cells(None, list_cell)


def _holds_texts(kind: pa.DataType) -> bool:
    return is_text(kind) or (is_list(kind) and is_text(kind.value_type))


def _parse(columns: Columns, name: str, cells: Cells) -> dict[int, Any]:
    """Return row -> value of the cells that hold more than a text, and report those that are broken."""
    values = columns.arrays[name]
    roles = known_roles(columns.roles)
    if is_text(values.type):
        places = np.flatnonzero(candidates(values, cells.begins))
        texts = zip(places.tolist(), values.take(pa.array(places)).to_pylist(), strict=True)
        return _parsed_cells(columns, name, texts, lambda text: cells.parse(text, roles))
    cuts, flat = flatten(values)
    # A list is parsed if one of its items may be a dialogue.
    owners = list_indices(cuts)
    places = np.unique(owners[candidates(flat, MAYBE)])
    lists = zip(places.tolist(), values.take(pa.array(places)).to_pylist(), strict=True)
    return _parsed_cells(columns, name, lists, lambda texts: dialogues_of(texts, roles))


def dialogues_of(texts: Sequence[Any], roles: Mapping[str, str]) -> list[Any] | None:
    """Return the items of a list with the dialogues among them parsed, None if no text is one."""
    items = [dialogue_in(text, roles) if isinstance(text, str) else None for text in texts]
    if all(item is None for item in items):
        return None
    if all(isinstance(item, dict) for item in items):
        return items
    # A text among dialogues is a reply, and so is a message; an item that is none of these is refused.
    replies = [_reply(text) if item is None else item for item, text in zip(items, texts, strict=True)]
    return [[reply] if isinstance(reply, dict) else reply for reply in replies]


def _reply(text: Any) -> Any:
    return {"role": "assistant", "content": text} if isinstance(text, str) else text


def report_dialogues(items: Columns, name: str) -> None:
    """Report replies that are dialogues where only texts are read."""
    if name in items and is_text(items.arrays[name].type):
        dialogues = _parse(items, name, REPLY)
        where = np.isin(np.arange(items.size), list(dialogues))
        detail = "holds messages, not a text; give the text of the reply alone"
        items.report(where, "unsupported_content", detail, name)


def read_system(columns: Columns, name: str) -> pa.Array:
    """Read a column of system prompts as texts, each of which may be one message of the system."""
    texts = columns.text(name)
    if not present(texts).any():
        return texts
    roles, contents, others = known_roles(columns.roles), {}, []
    for row, value in _parse(columns, name, DIALOGUE).items():
        turn = value[0] if isinstance(value, list) and len(value) == 1 else value
        content = turn.get("content", turn.get("value")) if isinstance(turn, dict) else None
        is_system = isinstance(content, str) and roles.get(normal(speaker_of(turn, roles) or "")) == "system"
        if is_system:
            contents[row] = content
        elif value is not None:
            others.append(row)
    detail = "holds messages, and not one of the system alone; give all messages in the prompt"
    columns.report(np.isin(np.arange(columns.size), others), "unsupported_content", detail, name)
    where = np.isin(np.arange(columns.size), list(contents))
    return pc.replace_with_mask(texts, pa.array(where), pa.array(list(contents.values()), pa.string()))


def candidates(texts: pa.Array, begins: str | None) -> Mask:
    """Mark the texts that a regular expression of Rust matches; None matches every text."""
    series = pl.from_arrow(texts.cast(pa.string()))
    assert isinstance(series, pl.Series)
    matches = series.is_not_null() if begins is None else series.str.contains(begins)
    return mask(matches.to_arrow())


def _parsed_cells(columns: Columns, name: str, cells: Any, parser: Callable[[Any], Any]) -> dict[int, Any]:
    values: dict[int, Any] = {}
    wrong: dict[tuple[str, str], list[int]] = {}
    for place, text in cells:
        try:
            value = parser(text)
        except ValueError as error:
            reason = "unsupported_content" if isinstance(error, OtherKind) else "invalid_json"
            wrong.setdefault((reason, str(error)), []).append(place)
            value = ()  # the row is read apart, and not as a text
        if value is not None:
            values[place] = value
    for (reason, detail), places in wrong.items():
        columns.report(np.isin(np.arange(columns.size), places), reason, detail, name)
    return {place: None if value == () else value for place, value in values.items()}


Part = tuple[Columns, np.ndarray[Any, np.dtype[np.int64]]]


def _parsed_parts(
    columns: Columns, rows: Any, names: Sequence[str], cell_values: Mapping[str, Mapping[int, Any]]
) -> list[Part]:
    """Return the rows with parsed cells as parts, each of rows that have the same types."""
    originals = {name: columns.arrays[name].take(pa.array(rows)).to_pylist() for name in names}
    values = [
        (
            int(row),
            # The key only makes a row of nulls a row.
            {name: cell_values[name].get(int(row), originals[name][place]) for name in names} | {"": place},
        )
        for place, row in enumerate(rows)
    ]
    tables, bad = row_tables(values)
    changes = {
        number: {name: as_known(cell_values[name][number]) for name in names if number in cell_values[name]}
        for number, _ in values
    }
    for line in bad:
        columns.report(np.arange(columns.size) == line.number, line.reason, line.detail, line.field)
    return [
        _subset(
            columns,
            part.numbers,
            {name: part.table[name].combine_chunks() for name in names},
            [changes[number] for number in part.numbers.tolist()],
        )
        for part in tables
    ]


def _subset(
    columns: Columns,
    places: Any,
    replacements: Mapping[str, pa.Array],
    changes: Sequence[Mapping[str, Any]] = (),
) -> Part:
    """Return some rows with other values of some columns, and with `changes` in their JSON."""
    arrays = {
        name: replacements[name] if name in replacements else array.take(pa.array(places))
        for name, array in columns.arrays.items()
    }
    owners = places if columns.owners is None else columns.owners[places]
    raw = None if columns.raw is None else columns.raw.take(places.tolist())
    if changes:
        raw = (raw or Raw(lambda: [{}] * len(places))).replaced(changes)
    return replace(columns, arrays=arrays, size=len(places), owners=owners, raw=raw), places


def _in_order(size: int, parts: Sequence[tuple[Any, Sequence[pa.Array | None]]]) -> list[pa.Array | None]:
    places = np.concatenate([places for places, _ in parts])
    order = np.full(size, -1)
    order[places] = np.arange(len(places))
    index = pa.array(order, mask=order < 0)  # rows that were reported are null
    read = [arrays for _, arrays in parts]
    return [
        None
        if column[0] is None
        else pa.concat_arrays([each for each in column if each is not None]).take(index)
        for column in zip(*read, strict=True)
    ]
