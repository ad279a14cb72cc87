"""An inspection as plain text. Whatever comes from a file is escaped and cut: it may hold anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from pairkit.arrow import is_json, is_list, is_number, is_text
from pairkit.errors import InputError
from pairkit.inspection.collect import Inspection
from pairkit.inspection.example import render_set
from pairkit.pipeline import readings, require_completions
from pairkit.pipeline.readings import Record
from pairkit.pipeline.recipe import BuildRecipe
from pairkit.progress import shell_quoted, visible
from pairkit.readers.formats import format_of
from pairkit.readers.survey import Survey
from pairkit.sources.layouts.fields import fits
from pairkit.sources.layouts.table import LAYOUTS

NAME_WIDTH = 40
KEYS = 6  # of an object that are named


def describe(inspection: Inspection, recipe: BuildRecipe, words: Sequence[str]) -> str:
    """Describe what a build would read. `words` are the options of `pairkit build` that read the same."""
    records = readings.records(inspection.opened.readings)
    lines = []
    for record in records:
        surveys = {name: inspection.opened.surveys[name] for name in record["files"]}
        lines += [*describe_files(surveys), *_reading(record, surveys)]
    for number, row in enumerate(inspection.examples, 1):
        lines += ["", f"set {number}", *(f"  {line}" for line in render_set(row))]
    lines += ["", *_sizes(inspection), *_next(inspection, recipe, words)]
    return "\n".join(lines).lstrip("\n")


def describe_files(surveys: Mapping[str, Survey]) -> list[str]:
    """Describe files that have the same layout: format, rows, columns with types and shares of values."""
    names, rows = list(surveys), sum(each.rows for each in surveys.values())
    title = visible(names[0]) if len(names) == 1 else f"{visible(names[0])} and {len(names) - 1:,} more files"
    formats = " ".join(filter(None, format_of(Path(names[0]))))
    columns: dict[str, list[pa.DataType]] = {}
    values: dict[str, int] = {}
    for each in surveys.values():
        for name, kinds in each.columns.items():
            types = columns.setdefault(name, [])
            types += [kind for kind in kinds if kind not in types]
            values[name] = values.get(name, 0) + each.non_null[name]
    table = [
        (visible(name, NAME_WIDTH), _kinds(kinds), f"{readings.percent(values[name] / max(rows, 1))} %")
        for name, kinds in columns.items()
    ]
    first, second = (max((len(row[place]) for row in table), default=0) for place in (0, 1))
    return [
        f"{title}: {formats}, {rows:,} rows, {len(columns)} columns",
        *(f"  {name:<{first}}  {kind:<{second}}  {share:>5}" for name, kind, share in table),
    ]


def _kinds(kinds: Iterable[pa.DataType]) -> str:
    return " or ".join(dict.fromkeys(_kind(kind) for kind in kinds))


def _kind(kind: pa.DataType) -> str:
    """Return a type in the words of JSON."""
    if pa.types.is_null(kind):
        return "no value"
    if is_list(kind):
        return f"list of {_kind(kind.value_type)}"
    if pa.types.is_struct(kind):
        names = [visible(each.name, NAME_WIDTH) for each in kind]
        return "{" + ", ".join([*names[:KEYS], *(["…"] if len(names) > KEYS else [])]) + "}"
    if pa.types.is_union(kind):
        return _kinds(each.type for each in kind)
    tests = (
        (is_text, "text"),
        (is_json, "JSON"),
        (is_number, "number"),
        (pa.types.is_boolean, "boolean"),
        (pa.types.is_temporal, "time"),
    )
    return next((name for test, name in tests if test(kind)), "bytes")


def _reading(record: Record, surveys: Mapping[str, Survey]) -> list[str]:
    first, *others = readings.describe(record, files=False)
    columns = next(iter(surveys.values())).columns
    fitting = [
        layout
        for layout in LAYOUTS.values()
        # Prompts alone fit wherever there is a prompt.
        if layout.name not in (record["layout"], "prompts") and fits(layout, columns)
    ]
    return [
        first,
        *(f"  {line}" for line in readings.fields(record)),
        *others,
        *(f"would also fit: --layout {layout.name} ({layout.summary})" for layout in fitting),
    ]


def _sizes(inspection: Inspection) -> list[str]:
    lines = [
        f"{inspection.rows:,} rows: {inspection.kept:,} sets with {inspection.completions:,} completions"
    ]
    for reason, refusal in inspection.refused.items():
        lines.append(f"  {refusal.count:,} refused, {reason}; the first: {visible(refusal.first, 300)}")
    return lines


def _next(inspection: Inspection, recipe: BuildRecipe, words: Sequence[str]) -> list[str]:
    """Return the commands to run, each with what it is for."""
    command = "pairkit build " + " ".join(map(shell_quoted, words))
    proposal = "" if inspection.completions else require_completions.proposal(inspection.opened)
    lines = [f"to read completions: {command} --map {proposal}"] if proposal else []
    if inspection.only_choices_fail:
        return [*lines, f"for --loss sft, or kto on labels: {command} mine.require_choice=false"]
    if not inspection.kept:
        return lines
    if not inspection.completions and not inspection.opened.source.prompts:
        reading = next(iter(inspection.opened.readings.values()))
        alone = (
            ""
            if require_completions.on_purpose(recipe, inspection.opened)
            else " " + require_completions.as_prompts(reading.layout, reading.map)
        )
        return [
            *lines,
            f"to generate completions: {command} generate.model=MODEL",
            f"to keep prompts alone: {command}{alone}",
        ]
    return [*lines, f"to build it: {command}"]


def nothing_usable(inspection: Inspection, name: str) -> InputError:
    """Return the error for a source of which a build would keep no set."""
    counts = ", ".join(f"{refusal.count:,} {reason}" for reason, refusal in inspection.refused.items())
    return InputError(f"{name}: no usable candidate set in {inspection.rows:,} rows ({counts})")
