"""Recipe fields on the command line: KEY=VALUE, --KEY VALUE, --KEY=VALUE after a command's own flags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from pairkit.errors import RecipeError, UsageError, unknown

if TYPE_CHECKING:
    from pairkit.recipes import Strict

# For commands that take them: a word that is none of their flags ends up in `context.args`.
SETTINGS = {"allow_extra_args": True, "ignore_unknown_options": True}


def overrides(context: typer.Context, recipe: type[Strict]) -> dict[str, Any]:
    """Parse the fields of `recipe` that were given, nested. Raises `UsageError`.

    A word such as --limt, which is neither flag nor field, is most likely a misspelt flag: the nearest flag
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
