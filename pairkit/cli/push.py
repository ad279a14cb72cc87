"""`pairkit push`: publish a built dataset or a trained model on the Hub, with its card."""

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
        bool, typer.Option("--private/--public", help="Visibility of a newly created repository.")
    ] = True,
    revision: Annotated[
        str, typer.Option(metavar="BRANCH", help="Branch to push to; created if it does not exist.")
    ] = "main",
    message: Annotated[str | None, typer.Option(metavar="TEXT", help="Commit message.")] = None,
    quarantine: Annotated[
        bool, typer.Option("--quarantine", help="Also publish the rows that could not be used.")
    ] = False,
    merge: Annotated[
        bool, typer.Option("--merge", help="Publish a run's adapters merged into their base model.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Push files changed by hand, or into a repository with other content."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check, and print what would be sent; send nothing.")
    ] = False,
) -> None:
    """Publish a dataset or a model on the Hugging Face Hub.

    Uploads the output of `pairkit build` or `pairkit train` in one commit, together with its card.

    Files that the Hub already has are not sent again, not even after a failed push. The token is that of
    `hf auth login`, or HF_TOKEN. Adapters are published as adapters, with their base model in the card.

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
        merge=merge,
        force=force,
        dry_run=dry_run,
    )
    typer.echo(describe(pushed, dry_run=dry_run))
