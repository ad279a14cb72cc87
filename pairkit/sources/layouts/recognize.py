"""Which layout the rows of a file have, and what a user's `map` and `layout` change about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from pairkit.arrow import is_list, is_number, is_text
from pairkit.errors import InputError, RecipeError, unknown
from pairkit.readers.survey import Survey
from pairkit.schema import ROLES
from pairkit.sources.base import Reading, SourceRecipe
from pairkit.sources.layouts.layout import SHAPES, Layout
from pairkit.sources.layouts.paths import Types, first_column, steps, types_at
from pairkit.sources.layouts.table import LAYOUTS

KINDS = {
    "text": is_text,
    "number": is_number,
    "list": is_list,
    "texts": lambda kind: is_list(kind) and is_text(kind.value_type),
    "objects": lambda kind: is_list(kind) and pa.types.is_struct(kind.value_type),
    "object": pa.types.is_struct,
}
FIELDS = tuple(dict.fromkeys(name for shape in SHAPES.values() for part in shape for name in part))
OPTIONS = ("roles", "rank_by_order")  # of `map`: no columns
JOINED = ("prompt", "system", "completion")  # several texts with a blank line between them
COLLECTED = ("completions", "scores", "ranks", "models")  # several columns as one list
AVERAGED = ("score", "ratings")  # several columns of numbers
# A map that names one of these says what the rows hold; any other adds to what is recognized.
CONTENT = ("prompt", "messages", "chosen", "rejected", "completions", "completion")


def is_constant(value: str) -> bool:
    """Return whether the value of a map is a text in quotes and no path."""
    return len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"


def columns_of(value: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return the paths that the value of a field joins; none for a constant."""
    if is_constant(value):
        return ()
    return (value,) if value in names else tuple(value.split("+"))


def check_map(mapped: Mapping[str, Any]) -> None:
    """Raise `RecipeError` for an unknown field, a broken path, or columns that cannot be joined."""
    for field in mapped:
        if field not in (*FIELDS, *OPTIONS):
            raise unknown("field of `map`", field, (*FIELDS, *OPTIONS))
    if not isinstance(mapped.get("roles", {}), Mapping):
        raise RecipeError(
            f"map roles: must give speakers a role, as in {{Human: user}}, got {mapped['roles']!r}"
        )
    for name, role in mapped.get("roles", {}).items():
        if role not in ROLES:
            raise RecipeError(f"map roles: {name} must be one of {', '.join(ROLES)}, got {role!r}")
    if mapped.get("rank_by_order", True) not in (True, False, "true", "false"):
        raise RecipeError(f"map rank_by_order: must be true or false, got {mapped['rank_by_order']!r}")
    for field, value in fields_in(mapped).items():
        joined = (*JOINED, *COLLECTED, *AVERAGED)
        if "+" in value and not is_constant(value) and field not in joined:
            raise RecipeError(f"map {field}={value}: only {', '.join(joined)} can join columns")
        for path in columns_of(value, ()):
            steps(path)


def fields_in(mapped: Mapping[str, Any]) -> dict[str, str]:
    """Return the fields of a map that are read from columns. Raises `RecipeError`."""
    fields = {name: value for name, value in mapped.items() if name not in OPTIONS}
    for name, value in fields.items():
        if not isinstance(value, str) or not value:
            raise RecipeError(f"map {name}: must be a column, a path or a quoted text, got {value!r}")
    return fields


def recognize(recipe: SourceRecipe, path: Path, survey: Survey) -> Reading:
    """Return how the rows of a file are read. Raises `InputError` or `RecipeError`."""
    columns = survey.columns
    mapped = fields_in(recipe.map)
    if not columns:
        return Reading("", "no row that can be read", {}, {})  # and so nothing that a layout would be for
    if recipe.layout is not None:
        layout = _named(recipe.layout, columns, mapped, path)
        fields = fields_of(layout, columns) | mapped
    elif any(name in mapped for name in CONTENT):
        layout, fields = _mapped(mapped), mapped
    else:
        layout, known = _recognized(columns, path)
        fields = fields_of(layout, known) | mapped
    shape = SHAPES[layout.shape]
    unread = sorted(mapped.keys() - {*shape.required, *shape.optional})
    if unread:
        used = ", ".join(shape.required)
        raise RecipeError(f"map {unread[0]}: not used together with {used}; leave it out")
    _check_paths(mapped, columns, path)
    options = {name: recipe.map[name] for name in OPTIONS if name in recipe.map}
    return Reading(layout.name, layout.summary, {**fields, **options}, _unread(layout, fields, survey))


def fits(layout: Layout, columns: Types) -> bool:
    """Return whether rows with these columns have a layout."""
    exist = all(_exists(columns, need) for need in layout.needs)
    return exist and set(layout.required) <= fields_of(layout, columns).keys()


def _exists(columns: Types, need: str) -> bool:
    """Return whether the path of `PATH` or `PATH:KIND` exists, in at least one row with that kind."""
    path, _, kind = need.partition(":")
    types = [each for each in types_at(columns, path) if not kind or KINDS[kind](each)]
    # A text that may hold the rest of the path gives no layout away.
    return any(not pa.types.is_null(each) for each in types)


def fields_of(layout: Layout, columns: Types) -> dict[str, str]:
    """Return the fields that rows with these columns have in a layout, and where."""
    found = {}
    for field, names in layout.fields.items():
        candidates = (names,) if isinstance(names, str) else names
        for candidate in candidates:
            if all(_exists(columns, part) for part in columns_of(candidate, columns)):
                found[field] = candidate
                break
    return found


def _recognized(columns: Types, path: Path) -> tuple[Layout, Types]:
    """Return the layout of a file, and the columns by which it was recognized."""
    layout = next((layout for layout in LAYOUTS.values() if fits(layout, columns)), None)
    if layout is None:
        # A column of nothing but nulls gives no layout away, unless there is no better one.
        columns = {name: kinds if _has_type(kinds) else (pa.string(),) for name, kinds in columns.items()}
        layout = next((layout for layout in LAYOUTS.values() if fits(layout, columns)), None)
    if layout is None:
        raise InputError(
            f"{path}: no known layout: expected a prompt, messages, or chosen and rejected; "
            f"found columns {', '.join(columns) or 'none'}; "
            "name the columns with --map, as in --map prompt=COLUMN,chosen=COLUMN"
        )
    return layout, columns


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
            f"found columns {', '.join(columns) or 'none'}; "
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
    for field, value in mapped.items():
        for path in columns_of(value, columns):
            if not types_at(columns, path):
                raise InputError(
                    f"{file}: map {field}={value}: there is no {path!r}; found columns "
                    f"{', '.join(columns) or 'none'}"
                )


def _unread(layout: Layout, fields: Mapping[str, str], survey: Survey) -> dict[str, float]:
    names = survey.columns
    paths = [path for value in fields.values() for path in columns_of(value, names)]
    used = {first_column(path, names) for path in (*paths, *layout.reads)}
    return {name: survey.non_null[name] / max(survey.rows, 1) for name in names if name not in used}
