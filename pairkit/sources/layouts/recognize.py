"""Which layout the rows of a file have, and what a user's `map` and `layout` change about it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from pairkit.arrow import is_list, is_number, is_text
from pairkit.errors import InputError, RecipeError, unknown
from pairkit.readers.survey import Survey
from pairkit.sources.base import Reading, SourceRecipe
from pairkit.sources.layouts.field_map import (
    AVERAGED,
    COLLECTED,
    JOINED,
    OPTIONS,
    VOTES,
    columns_of,
    fields_in,
)
from pairkit.sources.layouts.layout import SHAPES, Layout
from pairkit.sources.layouts.paths import Types, first_column, types_at
from pairkit.sources.layouts.settle import (
    UNTOLD,
    check_labels,
    check_preference,
    settle_order,
    settle_winners,
)
from pairkit.sources.layouts.steps import check_steps
from pairkit.sources.layouts.suggest import suggest, written
from pairkit.sources.layouts.table import LAYOUTS
from pairkit.sources.layouts.typed_texts import with_typed_texts
from pairkit.sources.layouts.unread import is_kept, unread_columns, unread_parts

KINDS = {
    "text": is_text,
    "number": is_number,
    "list": is_list,
    "texts": lambda kind: is_list(kind) and is_text(kind.value_type),
    "objects": lambda kind: is_list(kind) and pa.types.is_struct(kind.value_type),
    "object": pa.types.is_struct,
}
OUTCOMES = ("winner", "flags", "strength", "preference")  # of which a map's own replaces a layout's
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
    layout, fields = _read_as(recipe, path, columns, mapped)
    _check_used(recipe, layout, mapped, columns, path)
    options = {
        **_options(layout, fields),
        **{name: recipe.map[name] for name in OPTIONS if name in recipe.map},
    }
    if "winner" in fields and "winners" not in options:
        where = (columns_of(fields[name], columns) for name in ("winner", "completions"))
        options |= settle_winners(path, survey, *where, mapped="winner" in mapped)
    check_steps(path, columns, fields)
    for name in LABELED.keys() & fields.keys():
        check_labels(path, columns_of(fields[name], columns), LABELED[name].format(fields[name]))
    if options.get("rank_by_order") == UNTOLD:
        options |= settle_order(path, fields["completions"])
    if "preference" in fields and "preference" not in mapped:
        check_preference(path, fields["preference"])
    paths = _paths(layout, fields, columns)
    shares = unread_columns({first_column(each, columns) for each in paths}, survey)
    discarded = [name for name in shares if not is_kept(layout, fields, columns, name)]
    parts = unread_parts(columns, paths)
    map_ = {**fields, **options}
    return Reading(layout.name, layout.summary, map_, shares, layout.whole, discarded, parts)


def _read_as(
    recipe: SourceRecipe, path: Path, columns: Types, mapped: Mapping[str, str]
) -> tuple[Layout, dict[str, str]]:
    """Return the layout that is named, mapped or recognized, and its fields."""
    if recipe.layout is not None:
        layout = _named(recipe.layout, columns, mapped, path)
        fields = _completed(layout, columns, mapped)
    elif any(name in mapped for name in CONTENT):
        layout, fields = _mapped(mapped), dict(mapped)
    else:
        layout, known = _recognized(columns, path)
        fields = _completed(layout, known, mapped)
    return layout, _one_prompt(fields, mapped)


def _check_used(
    recipe: SourceRecipe, layout: Layout, mapped: Mapping[str, str], columns: Types, path: Path
) -> None:
    """Raise `RecipeError` for a field that rows of this layout do not have, `InputError` for a wrong path."""
    shape = SHAPES[layout.shape]
    unused = sorted(mapped.keys() - {*shape.required, *shape.optional})
    if unused:
        used = ", ".join(shape.required)
        raise RecipeError(f"map {unused[0]}: not used together with {used}; leave it out")
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
    """Return the options of a layout; what numbers mean holds for its own winner only."""
    own = fields.get("winner") == layout.fields.get("winner")
    return {name: value for name, value in layout.options.items() if own or name != "winners"}


def _one_prompt(fields: Mapping[str, str], mapped: Mapping[str, str]) -> dict[str, str]:
    """Return the fields with one of `prompt` and `messages`. Raises `RecipeError` if a map names both."""
    if not {"prompt", "messages"} <= fields.keys():
        return dict(fields)
    if {"prompt", "messages"} <= mapped.keys():
        raise RecipeError("map messages: not used together with prompt; leave one of them out")
    other = "prompt" if "messages" in mapped else "messages"
    return {name: value for name, value in fields.items() if name != other}


def fits(layout: Layout, columns: Types) -> bool:
    """Return whether rows with these columns have a layout."""
    exist = (
        all(_exists(columns, need) for need in layout.needs)
        and (not layout.needs_one or any(_exists(columns, f"{need}:number") for need in layout.needs_one))
        and not any(_exists(columns, need) for need in layout.needs_none)
    )
    return exist and set(layout.required) <= fields_of(layout, columns).keys()


def _exists(columns: Types, need: str) -> bool:
    """Return whether the path of `PATH` or `PATH:KIND` exists, in at least one row with that kind."""
    path, _, kind = need.partition(":")
    types = [each for each in types_at(columns, path) if not kind or KINDS[kind](each)]
    # A text that may hold the rest of the path gives no layout away.
    return any(not _is_open(each, inside=path not in columns) for each in types)


def _is_open(kind: pa.DataType, *, inside: bool) -> bool:
    """Return whether nothing is known of a type; `inside` a column, also where a list holds the text."""
    return pa.types.is_null(kind) or (inside and is_list(kind) and _is_open(kind.value_type, inside=True))


def fields_of(layout: Layout, columns: Types) -> dict[str, str]:
    """Return the fields that rows with these columns have in a layout, and where.

    A column may be spelled otherwise than in the layout: "Response A" for response_a.
    """
    found, spelled = {}, {_letters(name): name for name in reversed(list(columns))}
    known_names = (*columns, *layout.adds)
    for field, known in layout.fields.items():
        for candidate in (known,) if isinstance(known, str) else known:
            some = [part for part in candidate.split("|") if _exists(columns, f"{part}:number")]
            if "|" in candidate and some:
                found[field] = "+".join(some)
                break
            parts = columns_of(candidate, known_names)
            names = [part if part in known_names else spelled.get(_letters(part), part) for part in parts]
            if all(name in layout.adds or _exists(columns, name) for name in names):
                found[field] = "+".join(names)
                break
    return found


def _letters(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).lower()


def _recognized(columns: Types, path: Path) -> tuple[Layout, Types]:
    """Return the layout of a file, and the columns by which it was recognized."""
    columns = with_typed_texts(path, columns, LAYOUTS.values())
    layout = next((layout for layout in LAYOUTS.values() if fits(layout, columns)), None)
    if layout is None:
        # A column of nothing but nulls gives no layout away, unless there is no better one.
        columns = {name: kinds if _has_type(kinds) else (pa.string(),) for name, kinds in columns.items()}
        layout = next((layout for layout in LAYOUTS.values() if fits(layout, columns)), None)
    if layout is None:
        proposed = suggest(columns) or {"prompt": "COLUMN", "chosen": "COLUMN", "rejected": "COLUMN"}
        raise InputError(
            f"{path}: no known layout: expected a prompt, messages, or chosen and rejected; "
            f"found columns {', '.join(columns) or 'none'}; "
            f"name the columns with --map, as in --map {written(proposed)}"
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
    joined = (*JOINED, *COLLECTED, *AVERAGED, *VOTES)
    for field, value in mapped.items():
        # Here, because a column may itself be named "one+two".
        if len(columns_of(value, columns)) > 1 and field not in joined:
            raise RecipeError(f"map {field}={value}: only {', '.join(joined)} can join columns")
        for path in columns_of(value, columns):
            if not types_at(columns, path):
                # The one field that is often the same for all rows.
                constant = "; write a text that is no column in quotes: " if field == "system" else ""
                hint = f"""{constant}--map 'system="{value}"'""" if constant else ""
                raise InputError(
                    f"{file}: map {field}={value}: there is no {path!r}; found columns "
                    f"{', '.join(columns) or 'none'}{hint}"
                )


def _paths(layout: Layout, fields: Mapping[str, str], names: Iterable[str]) -> list[str]:
    return [*(path for value in fields.values() for path in columns_of(value, names)), *layout.reads]
