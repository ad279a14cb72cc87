"""Where prompts and candidate sets come from: one literal table, one file a source."""

from __future__ import annotations

from pairkit.errors import RecipeError, unknown
from pairkit.sources.base import Converted, Draft, Opened, Problem, Source, SourceRecipe

__all__ = [
    "SOURCES",
    "Converted",
    "Draft",
    "Opened",
    "Problem",
    "Source",
    "SourceRecipe",
    "find_source",
    "open_source",
]

SOURCES: dict[str, Source] = {}


def find_source(name: str) -> Source:
    """The source of that name, or for a hub id (`org/name`) the one that reads it.

    Raises `RecipeError`, naming the nearest known one.
    """
    if name in SOURCES:
        return SOURCES[name]
    if "/" in name:
        own = [source for source in SOURCES.values() if source.hub_id == name]
        return own[0] if own else SOURCES["hub"]
    raise unknown("source", name, SOURCES)


def open_source(recipe: SourceRecipe) -> Opened:
    """Finds the input that the recipe names, on disk or on the hub, without reading it yet.

    Raises `RecipeError` (unknown source, an option that it does not read), `InputError` (no such file,
    another kind of file) or `HubError` (no network, no such data set).
    """
    source = find_source(recipe.name)
    for option in ("map", "score"):
        if getattr(recipe, option) and option not in source.options:
            raise RecipeError(f"source {recipe.name!r} does not read `{option}`; leave it out")
    return source.open(source, recipe)
