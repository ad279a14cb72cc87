"""`pairkit eval`: measure a model or a judge."""

from __future__ import annotations

import typer

from pairkit.cli.evaluations.compare import compare
from pairkit.cli.evaluations.judge import judge
from pairkit.cli.overrides import SETTINGS

app = typer.Typer(help="Measure a model or a judge.", no_args_is_help=True)
app.command(context_settings=SETTINGS)(judge)
app.command()(compare)
