"""Which layout the rows of a file have, and what a user's `map` and `layout` change about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from pairkit.errors import InputError, RecipeError, listed, quoted, shortened, unknown
from pairkit.readers.survey import Survey
from pairkit.sources.base import Reading, SourceRecipe
from pairkit.sources.layouts.context import with_context
from pairkit.sources.layouts.field_map import (
    AVERAGED,
    COLLECTED,
    JOINED,
    OPTIONS,
    VOTES,
    columns_of,
    fields_in,
)
from pairkit.sources.layouts.fields import fields_of, fits
from pairkit.sources.layouts.layout import SHAPES, Layout
from pairkit.sources.layouts.named import by_name
from pairkit.sources.layouts.paths import Types, first_column, types_at
from pairkit.sources.layouts.ratings import averaged
from pairkit.sources.layouts.settle import check_labels, settled
from pairkit.sources.layouts.steps import check_steps
from pairkit.sources.layouts.suggest import suggest, written
from pairkit.sources.layouts.table import LAYOUTS
from pairkit.sources.layouts.typed_texts import with_typed_texts
from pairkit.sources.layouts.unread import is_kept, unread_columns, unread_of_completions, unread_parts

# Of which a map's own replaces a layout's.
OUTCOMES = ("winner", "flags", "ranks", "order", "strength", "preference")
# Fields of labels, and what reads a rating instead.
LABELED = {"label": "score={0},group=COLUMN (the prompt's)", "flags": "scores={0}"}
# A map that names one of these says what the rows hold; any other adds to what is recognized.
CONTENT = ("prompt", "messages", "chosen", "rejected", "completions", "completion")


def recognize(recipe: SourceRecipe, path: Path, survey: Survey) -> Reading:
    """Return how the rows of a file are read. Raises `InputError` or `RecipeError`."""
    columns = survey.columns
    mapped = fields_in(recipe.map)
    if not columns:
        return Reading("", "no row that can be read", {}, {})  # and so nothing that a layout would be for
    # A column without a value tells nothing, however many rows of it there are to read.
    value_columns = {name: kinds for name, kinds in columns.items() if survey.non_null[name]}
    layout, fields = _read_as(recipe, path, columns, value_columns, mapped)
    if layout.shape == "pairs" and value_columns.keys() >= {fields["chosen"], fields["rejected"]}:
        layout, fields = by_name(path, columns, layout, fields, recipe.map)
    before = dict(fields)
    fields = with_context(path, columns, layout, fields, mapped)
    _check_used(recipe, layout, mapped, columns, path)
    options = {
        **_options(layout, fields),
        **{name: recipe.map[name] for name in OPTIONS if name in recipe.map},
    }
    check_steps(path, columns, fields)
    for name in LABELED.keys() & fields.keys():
        check_labels(path, columns_of(fields[name], columns), LABELED[name].format(fields[name]))
    fields, options = settled(path, survey, layout.name, fields, options, mapped)
    paths = _paths(layout, fields, columns)
    shares = unread_columns({first_column(each, columns) for each in paths}, survey)
    discarded_names = [name for name in shares if not is_kept(layout, fields, columns, name)]
    parts = [*unread_parts(columns, paths), *unread_of_completions(columns, fields, paths)]
    map_ = {**fields, **options}
    ratings = averaged(path, survey, fields, mapped)
    mean = f"; the score is {'the mean of ' * (len(ratings) > 1)}{', '.join(ratings)}" if ratings else ""
    additions = [f"{name} = {value}" for name, value in fields.items() if name not in before]
    summary = layout.summary + mean + (f"; {', '.join(additions)}" if additions else "")
    return Reading(layout.name, summary, map_, shares, layout.whole, discarded_names, parts)


def _read_as(
    recipe: SourceRecipe, path: Path, columns: Types, value_columns: Types, mapped: Mapping[str, str]
) -> tuple[Layout, dict[str, str]]:
    """Return the layout that is named, mapped or recognized, and its fields."""
    if recipe.layout is not None:
        layout = _named(recipe.layout, columns, mapped, path)
        fields = _completed(layout, columns, mapped)
    elif any(name in mapped for name in CONTENT):
        layout, fields = _mapped(mapped), dict(mapped)
    else:
        layout, types = _recognized(columns, value_columns, path)
        fields = _completed(layout, types, mapped)
    return layout, _one_prompt(fields, mapped)


def _check_used(
    recipe: SourceRecipe, layout: Layout, mapped: Mapping[str, str], columns: Types, path: Path
) -> None:
    """Raise `RecipeError` for a field that rows of this layout do not have, `InputError` for a wrong path."""
    shape = SHAPES[layout.shape]
    unused_fields = sorted(mapped.keys() - {*shape.required, *shape.optional})
    if unused_fields:
        names = ", ".join(shape.required)
        raise RecipeError(f"map {unused_fields[0]}: not used together with {names}; leave it out")
    _check_paths(mapped, columns, path)
    for name in ("rank_by_order", "winners"):
        if name in recipe.map and name not in shape.optional:
            raise RecipeError(f"map {name}: rows of layout {layout.name!r} are not compared; leave it out")


def _completed(layout: Layout, columns: Types, mapped: Mapping[str, str]) -> dict[str, str]:
    """Return the fields of a layout with those of a map, whose outcome takes the place of the layout's."""
    fields = fields_of(layout, columns)
    if any(name in mapped for name in OUTCOMES):
        fields = {name: value for name, value in fields.items() if name not in OUTCOMES}
    if "score" in mapped and mapped["score"] == fields.get("label"):
        del fields["label"]
    return {**fields, **mapped}


def _options(layout: Layout, fields: Mapping[str, str]) -> dict[str, Any]:
    """Return the options of a layout; what numbers mean holds for its own winner only.

    Scores and ranks come before the order in which completions are written.
    """
    own = fields.get("winner") == layout.fields.get("winner")
    out = set() if own else {"winners"}
    if fields.keys() & {"scores", "ranks", "order"}:
        out.add("rank_by_order")
    return {name: value for name, value in layout.options.items() if name not in out}


def _one_prompt(fields: Mapping[str, str], mapped: Mapping[str, str]) -> dict[str, str]:
    """Return the fields with one of `prompt` and `messages`. Raises `RecipeError` if a map names both."""
    if not {"prompt", "messages"} <= fields.keys():
        return dict(fields)
    if {"prompt", "messages"} <= mapped.keys():
        raise RecipeError("map messages: not used together with prompt; leave one of them out")
    other = "prompt" if "messages" in mapped else "messages"
    return {name: value for name, value in fields.items() if name != other}


def _recognized(columns: Types, value_columns: Types, path: Path) -> tuple[Layout, Types]:
    """Return the layout of a file, and the columns by which it was recognized."""
    columns = with_typed_texts(path, columns, value_columns, LAYOUTS.values())
    layout = _first_fitting(tuple(columns.items()))
    if layout is None:
        # A column of nothing but nulls gives no layout away, unless there is no better one.
        columns = {name: kinds if _has_type(kinds) else (pa.string(),) for name, kinds in columns.items()}
        layout = _first_fitting(tuple(columns.items()))
    if layout is None:
        proposal = suggest(columns) or {"prompt": "COLUMN", "chosen": "COLUMN", "rejected": "COLUMN"}
        raise InputError(
            f"{path}: no known layout: expected a prompt, messages, or chosen and rejected; "
            f"found columns {listed(columns, 600) or 'none'}; "
            f"name the columns with --map, as in --map {written(proposal)}"
        )
    return layout, columns


@lru_cache(256)
def _first_fitting(columns: tuple[tuple[str, tuple[pa.DataType, ...]], ...]) -> Layout | None:
    """Return the first layout of these columns; the files of a folder mostly have the same."""
    types = dict(columns)
    return next((layout for layout in LAYOUTS.values() if fits(layout, types)), None)


def _has_type(kinds: Iterable[pa.DataType]) -> bool:
    return any(not pa.types.is_null(kind) for kind in kinds)


def _named(name: str, columns: Types, mapped: Mapping[str, str], path: Path) -> Layout:
    if name not in LAYOUTS:
        raise unknown("layout", name, LAYOUTS)
    layout = LAYOUTS[name]
    absent = sorted(set(layout.required) - set(fields_of(layout, columns)) - set(mapped))
    if absent:
        raise InputError(
            f"{path}: not of layout {name!r}, which needs {', '.join(absent)}; "
            f"found columns {listed(columns, 600) or 'none'}; "
            f"name them with --map, as in --map {absent[0]}=COLUMN"
        )
    return layout


def _mapped(mapped: Mapping[str, str]) -> Layout:
    for name, shape in SHAPES.items():
        if set(shape.required) <= set(mapped):
            return LAYOUTS[name]
    raise RecipeError(
        f"map {','.join(mapped)}: give prompt, or messages, or chosen and rejected, or completions"
    )


def _check_paths(mapped: Mapping[str, str], columns: Types, file: Path) -> None:
    joinable_fields = (*JOINED, *COLLECTED, *AVERAGED, *VOTES)
    for field, value in mapped.items():
        # Here, because a column may itself be named "one+two".
        if len(columns_of(value, columns)) > 1 and field not in joinable_fields:
            raise RecipeError(
                f"map {field}={shortened(value)}: only {', '.join(joinable_fields)} can join columns"
            )
        for path in columns_of(value, columns):
            if not types_at(columns, path):
                # The one field that is often the same for all rows.
                constant = "; write a text that is not a column in quotes: " if field == "system" else ""
                hint = f"""{constant}--map 'system="{value}"'""" if constant else ""
                raise InputError(
                    f"{file}: map {field}={shortened(value)}: there is no {quoted(path)}; found columns "
                    f"{listed(columns, 600) or 'none'}{hint}"
                )


def _paths(layout: Layout, fields: Mapping[str, str], names: Iterable[str]) -> list[str]:
    return [*(path for value in fields.values() for path in columns_of(value, names)), *layout.reads]
