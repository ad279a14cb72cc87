"""From files to batches of candidate sets, for every source that reads files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pairkit.errors import InputError, RecipeError, listed, located
from pairkit.readers.blocks import BadLine, RawBlock, RowTable
from pairkit.readers.formats import blocks, format_of
from pairkit.readers.parquet import parquet_file
from pairkit.readers.survey import Survey, survey
from pairkit.readers.written.raw_values import RAW
from pairkit.schema import QUARANTINE, UNIDENTIFIED, StageResult, quarantined
from pairkit.sources.base import STAGE, Opened, Reading, Source, SourceRecipe, converted
from pairkit.sources.reading.checks import check
from pairkit.sources.reading.hub import download_split
from pairkit.sources.reading.locate import DataFile, find_files, fingerprint_files, hash_files, stamp_files


class _File(NamedTuple):
    """A file, its label in messages, and the recipe with how the rows of this file are read."""

    path: Path
    label: str
    recipe: SourceRecipe
    whole: bool


def open_files(source: Source, recipe: SourceRecipe) -> Opened:
    """Find the files on disk or on the hub that the recipe names, ready to be read.

    Raises `InputError`, `RecipeError` or `HubError`.
    """
    if recipe.path is None:
        files, fingerprint = download_split(source, recipe)
        # Before they are hashed: what is written in between is noticed then.
        stamps = stamp_files(files)
        hashes = hash_files(files)
    else:
        for option in ("revision", "config"):
            if getattr(recipe, option):
                raise RecipeError(f"`{option}` applies to hub datasets only; leave out `path` or `{option}`")
        files = find_files(recipe.path, recipe.split, source.splits[0])
        stamps = stamp_files(files)
        hashes = hash_files(files)
        fingerprint = fingerprint_files(files, hashes)
    readings: dict[str, Reading] = {}
    surveys: dict[str, Survey] = {}
    counts: list[int | None] = []
    for file in files:
        if source.recognize is None:
            counts.append(_parquet_rows(source, file.path))
            continue
        file_survey = surveys[file.label] = survey(file.path)
        counts.append(file_survey.rows)
        readings[file.label] = source.recognize(recipe, file.path, file_survey)
    rows = sum(count for count in counts if count is not None)
    # Known only if it is for every file; a text format would have to be read for it.
    total = None if None in counts else min(rows, recipe.limit or rows)
    needs_merge = source.merge is not None and (
        not readings or any(reading.whole or "group" in reading.map for reading in readings.values())
    )
    stream = _merged if needs_merge else _batches
    read = [_file(file, recipe, readings.get(file.label)) for file in files]
    return Opened(
        source=source,
        files=[file.path for file in files],
        fingerprint=fingerprint,
        total_rows=total,
        readings=readings,
        stream=lambda start, rows: stream(source, read, start, rows),
        surveys=surveys,
        hashes=hashes,
        stamps=stamps,
    )


def _file(file: DataFile, recipe: SourceRecipe, reading: Reading | None) -> _File:
    if reading is None:
        return _File(*file, recipe, whole=False)
    # In a copy, because the recipe itself is part of the build's identity.
    file_recipe = recipe.model_copy(update={"layout": reading.layout, "map": dict(reading.map)})
    return _File(*file, file_recipe, reading.whole)


def _parquet_rows(source: Source, path: Path) -> int | None:
    """Return the number of rows of a Parquet file, or None for other formats.

    Its columns are checked here too, because this runs before anything is written.
    """
    if format_of(path)[0] != "parquet":
        return None
    with parquet_file(path) as file:
        _check_columns(source, path, file.schema_arrow.names)
        if not file.metadata.num_rows:
            raise InputError(f"{path}: contains no rows")
        return int(file.metadata.num_rows)


def _check_columns(source: Source, path: Path, names: Sequence[str]) -> None:
    if not source.columns or any(set(group) <= set(names) for group in source.columns):
        return
    groups = " or ".join(", ".join(group) for group in source.columns)
    raise InputError(
        f"{path}: not a file of source {source.name!r}: expected the columns {groups}; "
        f"found {listed(names, 600) or 'none'}; use --source files to map other columns"
    )


def _batches(source: Source, files: Sequence[_File], start: int, rows: int) -> Iterator[StageResult]:
    for file, raws in groupby(_raw(source, files, start, rows), key=itemgetter(0)):
        blocks_of_file = (raw for _, raw in raws)
        for raw in [_joined(list(blocks_of_file), file)] if file.whole else blocks_of_file:
            yield _convert(source, file, raw)


def _joined(raws: Sequence[RawBlock], file: _File) -> RawBlock:
    """Return all blocks of a file as one, for rows that mean something only all together."""
    parts = [part for raw in raws for part in raw.tables]
    bad = [line for raw in raws for line in raw.bad]
    if not parts:
        return RawBlock([], bad, len(bad))
    try:
        table = pa.concat_tables([part.table for part in parts], promote_options="permissive")
    except (pa.ArrowTypeError, pa.ArrowInvalid) as error:
        raise InputError(f"{file.path}: the rows differ in the types of their columns: {error}") from error
    numbers = np.concatenate([part.numbers for part in parts])
    order = np.argsort(numbers, kind="stable")
    texts = [part.texts for part in parts if part.texts is not None]
    row_texts = pa.concat_arrays(texts).take(pa.array(order)) if len(texts) == len(parts) else None
    whole = RowTable(table.take(pa.array(order)), numbers[order], row_texts)
    return RawBlock([whole], bad, len(order) + len(bad))


def _names(raw: RawBlock) -> list[str]:
    """Return the columns of all tables, in the order of their first appearance."""
    return list(dict.fromkeys(name for part in raw.tables for name in part.table.column_names))


def _raw(source: Source, files: Sequence[_File], start: int, rows: int) -> Iterator[tuple[_File, RawBlock]]:
    """Yield raw rows block by block, without the first `start` blocks, up to the recipe's limit."""
    remaining, number = files[0].recipe.limit, 0
    for file in files:
        first = True
        for block in blocks(file.path, rows):
            count = block.size if remaining is None else min(block.size, remaining)
            # Counted but not loaded: a build that continues skips Parquet row groups without decoding them.
            if number >= start:
                raw = block.load()
                # A block of bad lines alone has no columns to check.
                if first and raw.tables:
                    _check_columns(source, file.path, _names(raw))
                yield file, raw.head(count)
            first = False
            number += 1
            if remaining is not None:
                remaining -= count
                if not remaining:
                    return
        # Only now, because a text format shows that it is empty by being read.
        if first:
            raise InputError(f"{file.path}: contains no rows")


def _convert(source: Source, file: _File, raw: RawBlock) -> StageResult:
    assert source.convert is not None
    rows, name = raw.size, source_name(source, file.recipe)
    tables, waste, numbers = [], [_quarantine_lines(raw.bad, file.label)], []
    waste_numbers = [np.array([line.number for line in raw.bad], np.int64)]
    for part in raw.tables:
        row_table = _with_raw(part)
        if source.expand is not None:
            row_table = source.expand(row_table, file.recipe)
            rows += row_table.table.num_rows - part.table.num_rows
        draft = source.convert(row_table.table, file.recipe)
        result = check(draft, _without_raw(row_table), source=name, file=file.label)
        tables.append(result.sets)
        waste.append(result.quarantine)
        numbers.append(result.numbers)
        waste_numbers.append(result.refused)
    sets = _in_order(tables, numbers) if tables else UNIDENTIFIED.empty_table()
    return converted(sets, _in_order(waste, waste_numbers), rows)


def _in_order(tables: Sequence[pa.Table], numbers: Sequence[Any]) -> pa.Table:
    """Return rows that were read apart in the order of the file, by their numbers."""
    whole = pa.concat_tables(tables)
    if sum(len(part) > 0 for part in numbers) < 2:
        return whole
    return whole.take(pa.array(np.argsort(np.concatenate(numbers), kind="stable")))


def _with_raw(part: RowTable) -> RowTable:
    """Put the texts of rows into a column, which stays with its rows whatever is made of them."""
    if part.texts is None:
        return part
    return RowTable(part.table.append_column(RAW, part.texts), part.numbers)


def _without_raw(part: RowTable) -> RowTable:
    if RAW not in part.table.column_names:
        return part
    texts = part.table[RAW].combine_chunks()
    return RowTable(part.table.drop_columns([RAW]), part.numbers, texts)


def source_name(source: Source, recipe: SourceRecipe) -> str:
    """Return the value of the sets' `source` column: the source, or the id of a hub dataset without one."""
    return recipe.name if source.name == "hub" else source.name


def _quarantine_lines(bad: Sequence[BadLine], label: str) -> pa.Table:
    if not bad:
        return QUARANTINE.empty_table()
    details = [located(line.detail, file=label, row=line.number, field=line.field) for line in bad]
    return quarantined(STAGE, [line.reason for line in bad], [line.row for line in bad], details=details)


def _merged(source: Source, files: Sequence[_File], start: int, rows: int) -> Iterator[StageResult]:
    """Yield batches of `rows` sets, for sources that spread a set over several rows.

    The whole input is read first, and all of the quarantine comes with the first batch.
    """
    assert source.merge is not None
    # From the start also for a build that continues, because the rows of a set may be anywhere.
    parts = list(_batches(source, files, 0, rows))
    quarantine = pa.concat_tables([part.quarantine for part in parts])
    # Files may be read differently: those without groups get a null group.
    sets, row_counts = source.merge(
        pa.concat_tables([part.sets for part in parts], promote_options="default")
    )
    # One batch even without a set, because the quarantine has to go with one.
    for number, first in enumerate(range(0, max(1, sets.num_rows), rows)):
        if number >= start:
            waste = quarantine if number == 0 else QUARANTINE.empty_table()
            count = int(row_counts[first : first + rows].sum())
            yield converted(sets.slice(first, rows), waste, count + waste.num_rows)
