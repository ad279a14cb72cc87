"""`pairkit view`: look at candidate sets in a browser, and label them."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer

from pairkit.cli.mapping import mapping
from pairkit.cli.overrides import given_flags


def view(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH", help="A built dataset, a run of `pairkit online`, or a file or folder of pairs."
        ),
    ],
    run: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="A run of `pairkit train` on this data: log-probs and sampled negatives of each set.  "
            "[default: none]",
        ),
    ] = None,
    map_: Annotated[
        str | None,
        typer.Option(
            "--map",
            metavar="FIELD=COLUMN,...",
            help="Of files: where the fields are, as for `pairkit build`.  [default: recognized]",
        ),
    ] = None,
    layout: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of files: layout of the rows.  [default: recognized]")
    ] = None,
    annotate: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Label sets under this name: order, tie, flag. Saved at once in annotations/NAME.jsonl next "
            "to the data, for rank.ranker=human.  [default: look only]",
        ),
    ] = None,
    port: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=65535, help="Port.  [default: a free one]")
    ] = None,
    open_: Annotated[
        bool, typer.Option("--open", help="Open the page in the browser of this machine.")
    ] = False,
) -> None:
    """Look at candidate sets in a browser: search, filter, compare completions, label.

    Prints the address of the page and answers until Ctrl-C. The server listens on 127.0.0.1 only, and the
    address has a token that is new at every start: keep it to yourself. The page loads nothing from
    elsewhere. On another machine, forward the port: ssh -L 8000:127.0.0.1:8000 HOST.

    Examples:

    \b
      pairkit view runs/data/ultrafeedback
      pairkit view runs/data/ultrafeedback --run runs/train/ultrafeedback-mcpo --open
      pairkit view my-pairs.jsonl --annotate maria
      pairkit view my.csv --map prompt=question,chosen=good,rejected=bad
      pairkit view runs/online/gsm8k --port 8000
    """
    from threading import Event

    from pairkit.arrow import without_pandas
    from pairkit.view.browser import open_page
    from pairkit.view.viewing import viewing

    without_pandas()
    columns = given_flags({"map": mapping(map_), "layout": layout})
    with viewing(path, run=run, columns=columns, annotate=annotate, port=port) as running:
        # Not `say`, which hides tokens: this one is to be copied.
        try:
            typer.echo(running.address)
            with open_page(running.address, open_):
                Event().wait()
        except KeyboardInterrupt as stop:
            # Ctrl-C is how a look ends; other signals stop it, as they stop every command.
            if stop.args != (signal.SIGINT,):
                raise
