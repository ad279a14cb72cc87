"""`pairkit inspect`: what a build would read of a file, before it is built."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pairkit.cli.mapping import mapping
from pairkit.cli.overrides import given_flags, overrides
from pairkit.cli.printing import say
from pairkit.errors import PairkitError, UsageError


def inspect(
    context: typer.Context,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="A file, folder or glob; the id of a dataset on the Hub; or a source."
        ),
    ],
    map_: Annotated[
        str | None,
        typer.Option(
            "--map",
            metavar="FIELD=COLUMN,...",
            help="Where the fields are: a column, a path such as completions[0].text, or a text in quotes.",
        ),
    ] = None,
    layout: Annotated[
        str | None, typer.Option(metavar="NAME", help="Layout of the rows.  [default: recognized]")
    ] = None,
    split: Annotated[str | None, typer.Option(metavar="NAME", help="Split of a folder or dataset.")] = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", help="Read only the first N raw rows.  [default: all]")
    ] = None,
) -> None:
    """Show how a file would be read: its columns, layout, example sets, and what would be refused.

    Nothing is written. The last lines are the commands of `pairkit build` to run. Fields of `source` and
    `mine` of a build's recipe can follow the flags as KEY.SUB=VALUE. Exits with 1 if no row can be used.

    Examples:

    \b
      pairkit inspect my.jsonl
      pairkit inspect my.csv --map prompt=question,chosen=good,rejected=bad
      pairkit inspect 'rows/*.parquet' --layout single --limit 1000
      pairkit inspect org/name --split test
    """
    from pairkit.arrow import without_pandas
    from pairkit.inspection import collect, text
    from pairkit.pipeline.recipe import BuildRecipe, load
    from pairkit.sources import SOURCES

    without_pandas()
    name, path = _source(file, tuple(SOURCES))
    options: dict[str, Any] = {
        "path": path,
        "map": mapping(map_),
        "layout": layout,
        "split": split,
        "limit": limit,
    }
    fields = given_flags(options)
    more = overrides(context, BuildRecipe)
    for key in more.keys() - {"source", "mine"}:
        raise UsageError(f"pairkit inspect does not read {key!r}; fields of source and mine can be given")
    recipe = load(None, {"source": {"name": name, **fields}}, more)
    try:
        inspection = collect.inspect(recipe)
    except PairkitError:
        # What there is, so that the error about it can be understood.
        surveys = collect.surveys_of(recipe.every_source[0])
        if surveys:
            say("\n".join(text.describe_files(surveys)))
        raise
    flags = [("--map", map_), ("--layout", layout), ("--split", split), ("--limit", limit)]
    words = ["--source", name, *(["--path", path] if path else [])]
    words += [str(word) for flag, value in flags if value is not None for word in (flag, value)]
    say(text.describe(inspection, recipe, [*words, *context.args]))
    if not inspection.kept and not inspection.only_choices_fail:
        raise text.nothing_usable(inspection, file)


def _source(file: str, sources: tuple[str, ...]) -> tuple[str, str | None]:
    """Return the source and the path that the argument names."""
    parts = file.split("/")
    # A hub id has one slash and no ending of a file; what exists here is a file or a folder.
    hub_id = len(parts) == 2 and all(parts) and not any(mark in file for mark in "*?[~") and parts[0] != "."
    if not Path(file).exists() and ((hub_id and not Path(parts[0]).is_dir()) or file in sources):
        return file, None
    return "files", file
