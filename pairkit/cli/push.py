"""`pairkit push`: publish a built dataset or a trained model on the Hub, with its card."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pairkit.cli.options import TrustFlag
from pairkit.cli.overrides import overrides
from pairkit.cli.printing import say


class HubCard(StrEnum):
    """`card_on_hub.HubCard` as typer takes it."""

    merge = "merge"
    keep = "keep"
    # `replace` is a method of every text.
    replace_ = "replace"


def push(
    context: typer.Context,
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
    message: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Commit message.  [default: what changes, in numbers]"),
    ] = None,
    tag: Annotated[
        str | None, typer.Option(metavar="NAME", help="A git tag for the commit, such as v1.0.")
    ] = None,
    collection: Annotated[
        str | None,
        typer.Option(
            metavar="TITLE|ADDRESS", help="Add the repository to this collection; a new title creates one."
        ),
    ] = None,
    hub_card: Annotated[
        HubCard,
        typer.Option(
            metavar="[merge|keep|replace]",
            help="If the card was edited on the Hub: merge the edits and refuse conflicts, keep them also in "
            "conflicts, or replace them.",
        ),
    ] = HubCard.merge,
    quarantine: Annotated[
        bool, typer.Option("--quarantine", help="Also publish the rows that could not be used.")
    ] = False,
    merge: Annotated[
        bool, typer.Option("--merge", help="Publish a run's adapters merged into their base model.")
    ] = False,
    trust_remote_code: TrustFlag = False,
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

    Fields of the card can follow the flags as --card.KEY VALUE: license (an identifier of the Hub, or
    other:NAME), language, pretty_name, tags, description and text (Markdown). They replace those of the
    recipe.

    Examples:

    \b
      pairkit push runs/data/ultrafeedback me/ultrafeedback-sets --dry-run
      pairkit push runs/data/ultrafeedback me/ultrafeedback-sets
      pairkit push runs/data/ultrafeedback me/ultrafeedback-sets --card.license mit --card.language en
      pairkit push runs/data/ultrafeedback me/ultrafeedback-sets --tag v1.0 --collection "Preference data"
      pairkit push runs/data/ultrafeedback me/ultrafeedback-sets --revision v2 --quarantine
      pairkit push runs/train/ultrafeedback-mcpo me/qwen-mcpo --public --message "MC-PO, three negatives"
    """
    from pairkit.dataset.card_settings import Carded
    from pairkit.hub.push import describe
    from pairkit.hub.push import push as publish
    from pairkit.recipes import validate

    card = validate(Carded, overrides(context, Carded)).card
    push_result = publish(
        folder,
        name,
        private=private,
        revision=revision,
        message=message,
        card=card.given(),
        hub_card=hub_card.value,
        tag=tag,
        collection=collection,
        quarantine=quarantine,
        merge=merge,
        trust_remote_code=trust_remote_code,
        force=force,
        dry_run=dry_run,
    )
    say(describe(push_result, dry_run=dry_run))
