"""`pairkit sources`: list what `pairkit build` can read."""

from __future__ import annotations

import typer


def sources() -> None:
    """List the sources of prompts and candidate sets that `pairkit build` reads.

    Examples:

    \b
      pairkit sources
      pairkit build --source nectar
    """
    from pairkit.sources import SOURCES

    width = max(map(len, SOURCES))
    for name, source in SOURCES.items():
        typer.echo(f"{name:<{width}}  {source.summary}")
