"""`pairkit sources`: what there is to build from."""

from __future__ import annotations

import typer


def sources() -> None:
    """List the sources of prompts and sets.

    Examples:

      pairkit sources
    """
    from pairkit.sources import SOURCES

    width = max(map(len, SOURCES))
    for name, source in SOURCES.items():
        typer.echo(f"{name:<{width}}  {source.summary}")
