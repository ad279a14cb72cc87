"""From files to batches of candidate sets: what `open_source` does for every source that reads files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa

from pairkit.errors import InputError, RecipeError
from pairkit.readers.blocks import Raw
from pairkit.readers.formats import blocks, format_of
from pairkit.readers.jsonlines import Bad
from pairkit.readers.parquet import parquet_file
from pairkit.schema import QUARANTINE, UNIDENTIFIED, StageResult, quarantined
from pairkit.sources.base import STAGE, Opened, Source, SourceRecipe, converted
from pairkit.sources.reading import locate
from pairkit.sources.reading.checks import detail, finish
from pairkit.sources.reading.hub import fetch
from pairkit.sources.reading.locate import Found

LAYOUT_ROWS = 1000  # of a file, that say how its rows are laid out


def open_files(source: Source, recipe: SourceRecipe) -> Opened:
    """The files on disk or on the hub that the recipe names, ready to be read.

    Raises `InputError`, `RecipeError` or `HubError`.
    """
    if recipe.path is None:
        found, fingerprint = fetch(source, recipe)
    else:
        for option in ("revision", "config"):
            if getattr(recipe, option):
                raise RecipeError(f"`{option}` is for data sets on the hub: with `path` nothing reads it")
        found = locate.find(recipe.path, recipe.split, source.splits[0])
        fingerprint = locate.fingerprint(found)
    counts = [_parquet_rows(source, recipe, file.path) for file in found]
    known = sum(count for count in counts if count is not None)
    total = None if None in counts else min(known, recipe.limit or known)
    stream = _merged if source.merge else _batches
    return Opened(
        source=source,
        files=[file.path for file in found],
        fingerprint=fingerprint,
        total_rows=total,
        stream=lambda start, rows: stream(source, recipe, found, start, rows),
    )


def _parquet_rows(source: Source, recipe: SourceRecipe, path: Path) -> int | None:
    """The rows of a Parquet file, whose columns are checked here, before anything is written; else None."""
    if format_of(path)[0] != "parquet":
        return None
    with parquet_file(path) as file:
        _check_columns(source, recipe, path, file.schema_arrow.names)
        if not file.metadata.num_rows:
            raise InputError(f"{path}: holds no rows")
        return int(file.metadata.num_rows)


def _check_columns(source: Source, recipe: SourceRecipe, path: Path, names: Sequence[str]) -> None:
    expected = source.expects(recipe)
    if any(set(group) <= set(names) for group in expected):
        return
    wanted = " or ".join(", ".join(group) for group in expected)
    if "map" not in source.options:
        hint = "; files of other columns are read by --source files"
    else:
        hint = "" if recipe.map else "; name the columns with --map, as in --map prompt=COLUMN,chosen=COLUMN"
    raise InputError(
        f"{path}: not a file of source {source.name!r}: expected the columns {wanted}; "
        f"found {', '.join(names) or 'none'}{hint}"
    )


def _batches(
    source: Source, recipe: SourceRecipe, found: Sequence[Found], start: int, rows: int
) -> Iterator[StageResult]:
    layouts: dict[Found, SourceRecipe] = {}
    for file, raw in _raw(source, recipe, found, start, rows):
        if file not in layouts:
            layouts[file] = _of_file(source, recipe, file, raw if start == 0 else None, rows)
        yield _convert(source, layouts[file], file, raw)


def _of_file(source: Source, recipe: SourceRecipe, file: Found, first: Raw | None, rows: int) -> SourceRecipe:
    """The recipe with the layout of a file filled in, where the source finds it by the columns' names.

    The names of the file's first `LAYOUT_ROWS` rows decide, however many rows are read together: in JSON
    lines each row brings its own columns.
    """
    if source.layout is None or recipe.map:
        return recipe
    if first is None or rows != LAYOUT_ROWS:
        with closing(blocks(file.path, LAYOUT_ROWS)) as read:
            first = next(read).load()
    return recipe.model_copy(update={"map": source.layout(_names(first))})


def _names(raw: Raw) -> list[str]:
    """The columns of all pieces, in the order of their first appearance."""
    return list(dict.fromkeys(name for piece in raw.pieces for name in piece.table.column_names))


def _raw(
    source: Source, recipe: SourceRecipe, found: Sequence[Found], start: int, rows: int
) -> Iterator[tuple[Found, Raw]]:
    """The raw rows in blocks, without the first `start` ones, up to the recipe's limit."""
    left, number = recipe.limit, 0
    for file in found:
        first = True
        for block in blocks(file.path, rows):
            count = block.size if left is None else min(block.size, left)
            if number >= start:
                raw = block.load()
                if first and raw.pieces:
                    _check_columns(source, recipe, file.path, _names(raw))
                yield file, raw.head(count)
            first = False
            number += 1
            if left is not None:
                left -= count
                if not left:
                    return
        if first:
            raise InputError(f"{file.path}: holds no rows")


def _convert(source: Source, recipe: SourceRecipe, file: Found, raw: Raw) -> StageResult:
    assert source.convert is not None
    tables, waste, numbers = [], [_unreadable(raw.bad, file.label)], []
    for piece in raw.pieces:
        draft = source.convert(piece.table, recipe)
        sets, quarantine, kept = finish(draft, piece, source=source_name(source, recipe), file=file.label)
        tables.append(sets)
        waste.append(quarantine)
        numbers.append(kept)
    sets = pa.concat_tables(tables) if tables else UNIDENTIFIED.empty_table()
    if len(tables) > 1:  # rows of several schemas: back to the order of the file
        sets = sets.take(pa.array(np.argsort(np.concatenate(numbers), kind="stable")))
    return converted(sets, pa.concat_tables(waste), raw.size)


def source_name(source: Source, recipe: SourceRecipe) -> str:
    """What the sets' `source` column says: the source, or the hub data set that has no source of its own."""
    return recipe.name if source.name == "hub" else source.name


def _unreadable(bad: Sequence[Bad], label: str) -> pa.Table:
    if not bad:
        return QUARANTINE.empty_table()
    details = [detail(label, item.number, item.field, item.detail) for item in bad]
    return quarantined(STAGE, [item.reason for item in bad], [item.row for item in bad], details=details)


def _merged(
    source: Source, recipe: SourceRecipe, found: Sequence[Found], start: int, rows: int
) -> Iterator[StageResult]:
    """Batches of `rows` sets, of sources that make a set of several rows: the whole input is read first.

    All of the quarantine comes with the first batch.
    """
    assert source.merge is not None
    parts = list(_batches(source, recipe, found, 0, rows))
    quarantine = pa.concat_tables([part.quarantine for part in parts])
    sets, used = source.merge(pa.concat_tables([part.sets for part in parts]))
    for number, first in enumerate(range(0, max(1, sets.num_rows), rows)):
        if number >= start:
            waste = quarantine if number == 0 else QUARANTINE.empty_table()
            count = int(used[first : first + rows].sum())
            yield converted(sets.slice(first, rows), waste, count + waste.num_rows)
