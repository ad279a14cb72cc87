"""Recipe fields on the command line: KEY=VALUE, --KEY VALUE, --KEY=VALUE after a command's own flags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from pairkit.errors import RecipeError, UsageError, unknown

if TYPE_CHECKING:
    from pairkit.recipes import Strict

# For commands that take them: a word that is none of their flags ends up in `context.args`.
SETTINGS = {"allow_extra_args": True, "ignore_unknown_options": True}


def overrides(context: typer.Context, recipe: type[Strict]) -> dict[str, Any]:
    """Parse the fields of `recipe` that were given, nested. Raises `UsageError`.

    A word such as --limt, which is neither flag nor field, is most likely a misspelled flag: the nearest flag
    is named.
    """
    from pairkit.recipes import parse_overrides

    for word in context.args:
        # Keys of recipes have underscores.
        name = word.partition("=")[0].removeprefix("--").replace("-", "_")
        if word.startswith("--") and "." not in name and name not in recipe.model_fields:
            flags = [flag for option in context.command.params for flag in option.opts]
            raise UsageError(str(unknown("option", word.partition("=")[0], flags)))
    try:
        return parse_overrides(context.args, recipe)
    except RecipeError as error:
        raise UsageError(str(error)) from error


def given_flags(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Keep the flags that were given: without None, and without blocks that are empty then."""
    # Without this, the default None of a flag would overwrite the recipe.
    values = {key: given_flags(value) if isinstance(value, dict) else value for key, value in flags.items()}
    return {key: value for key, value in values.items() if value is not None and value != {}}
