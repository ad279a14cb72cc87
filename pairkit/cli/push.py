"""`pairkit push`: a built data set or a trained model on the hub, with its card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def push(
    folder: Annotated[
        Path, typer.Argument(help="What `pairkit build` or `pairkit train` wrote.", metavar="DIR")
    ],
    name: Annotated[str, typer.Argument(help="The repository: user/name.", metavar="USER/NAME")],
    private: Annotated[
        bool, typer.Option("--private/--public", help="Who may see a repository that is made.")
    ] = True,
    revision: Annotated[str, typer.Option(help="Branch to push to; made where it is missing.")] = "main",
    message: Annotated[str | None, typer.Option(help="Of the commit.")] = None,
    quarantine: Annotated[
        bool, typer.Option("--quarantine", help="Publish the rows that could not be used too.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Push what was changed by hand, or into a repository that holds something else."
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check, show what would be sent, send nothing.")
    ] = False,
) -> None:
    """Publish a data set or a model on the Hugging Face Hub.

    What `pairkit build` or `pairkit train` wrote goes there in one commit, with its card.

    What the hub has already is not sent again, also after a push that failed. The token is that of
    `hf auth login`, or HF_TOKEN.

    Examples:

    \b
      pairkit push runs/data/ultrafeedback me/ultrafeedback-sets --dry-run
      pairkit push runs/data/ultrafeedback me/ultrafeedback-sets
      pairkit push runs/data/ultrafeedback me/ultrafeedback-sets --revision v2 --quarantine
      pairkit push runs/train/ultrafeedback-mcpo me/qwen-mcpo --public --message "MC-PO, three negatives"
    """
    from pairkit.hub.push import describe
    from pairkit.hub.push import push as publish

    pushed = publish(
        folder,
        name,
        private=private,
        revision=revision,
        message=message,
        quarantine=quarantine,
        force=force,
        dry_run=dry_run,
    )
    typer.echo(describe(pushed, dry_run=dry_run))
