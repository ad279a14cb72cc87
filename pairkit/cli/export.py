"""`pairkit export`: a built dataset in the file format of another library."""

from __future__ import annotations

from inspect import cleandoc
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from pairkit.cli.options import OnExisting
from pairkit.dataset.formats import FORMATS


def export(
    folder: Annotated[Path, typer.Argument(help="A dataset that `pairkit build` wrote.", metavar="DIR")],
    as_: Annotated[str, typer.Option("--as", help=f"The format: {', '.join(FORMATS)}.", metavar="FORMAT")],
    split: Annotated[str, typer.Option(help="Split to export.")] = "train",
    out: Annotated[
        Path | None,
        typer.Option(help="File or directory to write; default runs/export/NAME-FORMAT.", show_default=False),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first N sets.")] = None,
    rejected: Annotated[
        str | None,
        typer.Option(help="Rejected completion: worst, random, all or policy; default: that of the recipe."),
    ] = None,
    on_existing: Annotated[
        OnExisting, typer.Option(help="Keep an identical export of the split, write it again, or refuse.")
    ] = OnExisting.resume,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check --out, convert and count everything, write nothing.")
    ] = False,
) -> None:
    """Write a dataset in the file format of another library.

    The formats, and what reads them:

    \b
    {formats}

    A set that makes no pair is left out and counted. Parquet or JSON lines, as the library expects. A
    directory holds one file per split.

    Examples:

    \b
      pairkit export runs/data/ultrafeedback --as trl
      pairkit export runs/data/ultrafeedback --as openai --out dpo.jsonl --limit 1000
      pairkit export runs/data/nectar --as nemo_rl --split test --rejected worst
      pairkit export runs/data/nectar --as sharegpt --dry-run
    """
    from pairkit.dataset.export import describe
    from pairkit.dataset.export import export as write

    exported = write(
        folder,
        as_,
        out,
        split=split,
        limit=limit,
        # Any text: `export` checks it and names the choices.
        rejected=cast("Any", rejected),
        on_existing=cast("Any", on_existing.value),
        dry_run=dry_run,
    )
    typer.echo(describe(exported, dry_run=dry_run))


# After the definition, because a docstring cannot be an f-string and typer prints it as the help. Without its
# indentation first, because the lines that replace the field have none.
export.__doc__ = cleandoc(str(export.__doc__)).format(
    formats="\n".join(f"  {name:<10} {made.consumer}" for name, made in FORMATS.items())
)
