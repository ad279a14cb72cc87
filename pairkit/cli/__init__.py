"""The command line: one file a command, which parses and calls and holds no logic.

Whatever is heavy (torch, transformers, pyarrow, polars) is imported inside the functions, so that
`pairkit --help` answers at once.
"""

from __future__ import annotations

import sys
from typing import Any, NoReturn

import typer

from pairkit import __version__
from pairkit.cli import eval as evaluations
from pairkit.cli.build import build
from pairkit.cli.export import export
from pairkit.cli.losses import losses
from pairkit.cli.overrides import SETTINGS
from pairkit.cli.push import push
from pairkit.cli.quickstart import quickstart
from pairkit.cli.sources import sources
from pairkit.cli.train import train
from pairkit.errors import Interrupted, PairkitError

app = typer.Typer(
    name="pairkit",
    help="Preference data for language models, and training on it.",
    no_args_is_help=True,
    rich_markup_mode=None,  # rich help takes twice as long to start as all of the rest
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
app.command(context_settings=SETTINGS)(build)
app.command(context_settings=SETTINGS)(train)
app.add_typer(evaluations.app, name="eval")
app.command()(export)
app.command()(push)
app.command()(sources)
app.command()(losses)
app.command()(quickstart)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"pairkit {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    pass


# Of every mistake in flags and commands. Where it is imported from depends on typer's version.
UsageError: Any = typer.BadParameter.__bases__[0]


def main() -> None:
    """Runs the command line. A user's mistake is one line and exit code 1; SIGINT is exit code 130."""
    try:
        code = app(prog_name="pairkit", standalone_mode=False)
    except PairkitError as error:
        _fail(str(error), error.exit_code)
    except UsageError as error:  # a wrong flag is a user's mistake like any other
        if error.format_message():  # without any word behind `pairkit`, the help has been shown
            command = error.ctx.command_path if error.ctx else "pairkit"
            _fail(f"{error.format_message().rstrip('.')}; see: {command} --help", 1)
        sys.exit(1)
    if code == Interrupted.exit_code:
        _fail("stopped", code)
    sys.exit(code)


def _fail(message: str, code: int) -> NoReturn:
    line = " ".join(message.split())  # a library's message inside ours may have several lines
    typer.secho(f"error: {line}", fg=typer.colors.RED, err=True)
    sys.exit(code)
