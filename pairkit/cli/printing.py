"""Printing what a command returns, which names files, models and texts of others."""

from __future__ import annotations

import typer


def say(text: str, *, err: bool = False, end: str = "\n") -> None:
    """Print a result, or a remark on standard error; no escape sequence in it reaches a terminal."""
    from pairkit.masking import masked
    from pairkit.progress import shown

    typer.echo(shown(masked(text)) + end, err=err, nl=False)
