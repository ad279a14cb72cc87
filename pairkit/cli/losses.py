"""`pairkit losses`: what there is to train with."""

from __future__ import annotations

import typer


def losses() -> None:
    """List the losses that `pairkit train --loss NAME` knows.

    Examples:

      pairkit losses
    """
    from pairkit.losses import LOSSES

    width = max(map(len, LOSSES))
    for name, loss in LOSSES.items():
        typer.echo(f"{name:<{width}}  {loss.summary}")
